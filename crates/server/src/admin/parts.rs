//! What the routes of the admin API share.

use std::sync::Arc;

use mandate_administration::Administration;
use mandate_core::Timestamp;

use crate::database_place::Place;
use crate::health::{Disk, Health};

/// What the routes act on, and what `GET /v1/status` knows beside it.
pub(crate) struct Admin {
    pub(crate) administration: Arc<Administration>,
    pub(crate) health: Arc<Health>,
    pub(crate) disk: Disk,
    pub(crate) database: Place,
    pub(crate) node_server: String,
    pub(crate) started: Timestamp,
}
