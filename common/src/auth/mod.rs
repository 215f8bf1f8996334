//! Authentication: who may log in, with which proof, and as which Unix user.

pub mod argon2;
pub mod checkpassword;
pub mod cram;
pub mod crypt;
mod decoy;
pub mod lines;
pub mod nets;
pub mod passwd;
pub mod passwd_file;
pub mod sasl;
pub mod scheme;
pub mod scram;
pub mod shadow;
#[cfg(test)]
mod testing;
pub mod username;
