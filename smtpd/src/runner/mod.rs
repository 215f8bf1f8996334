//! The queue run: what is due is tried.

pub mod attempt;
