//! mandate
fn main(){}
