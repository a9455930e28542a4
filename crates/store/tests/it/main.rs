//! The store behind the audit log, with every closure and every transaction run twice: its guarantees about
//! receipts, crashes, a full disk and a tampered file.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod log;
#[cfg(test)]
mod origins;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod repositories;
#[cfg(test)]
mod runtime;
#[cfg(test)]
mod set_back;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod world;
