//! The store behind the audit log: what is promised of a receipt, of a crash, of a full disk and of a tampered file.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod log;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod repositories;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod world;
