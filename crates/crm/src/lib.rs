//! mandate-crm
