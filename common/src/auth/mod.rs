//! Authentication: who may log in, with which proof, and as which Unix user.

pub mod crypt;
