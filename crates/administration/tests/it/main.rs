//! The engine of operators' acts over a whole world: a real store, log and authority.

mod lists;
mod roles;
mod states;
