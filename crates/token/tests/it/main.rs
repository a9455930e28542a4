//! This crate against strangers: another JWT library, and every algorithm of a foreign issuer.

#[cfg(test)]
mod algorithms;
#[cfg(test)]
mod stranger;
#[cfg(test)]
mod vectors;
