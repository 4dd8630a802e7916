//! What the clients of a run do.

pub mod churn;
pub mod flow;
pub mod idle;
mod ledger;
pub mod rtt;
