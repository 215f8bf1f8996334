//! Authentication: who may log in, with which proof, and as which Unix user.

pub mod argon2;
pub mod cram;
pub mod crypt;
pub mod scheme;
pub mod scram;
