//! Passwords and what is derived from them: never printed, wiped when dropped.

use std::fmt;
use zeroize::Zeroize;

/// Octets that must not reach a log, a core file or a later owner of the memory.
///
/// It has no `Display`, its `Debug` shows nothing, and dropping it overwrites it.
#[derive(Default, Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the octets over. The caller's copy, if it made one, is the caller's to wipe.
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// The octets themselves, for the one function that has to compare or hash them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Equality in time that depends on the lengths only.
    pub fn equals(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.ct_eq(other).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.equals(&other.0)
    }
}
impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_octets() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(..)");
    }

    #[test]
    fn equality_looks_at_every_octet_and_the_length() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert!(secret.equals(b"hunter2"));
        assert!(!secret.equals(b"hunter3"));
        assert!(!secret.equals(b"hunter"));
    }
}
