//! Overwriting what was secret.

/// Overwrites octets with zeros, whether or not anybody looks at them again (explicit_bzero(3)). For buffers that whole files go
/// through: `zeroize` writes octet by octet.
pub fn wipe(octets: &mut [u8]) {
    // SAFETY: the octets are ours, and any of them may be zero.
    unsafe { libc::explicit_bzero(octets.as_mut_ptr().cast(), octets.len()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_left_and_nothing_else_is_touched() {
        let mut octets = *b"before secret after";
        super::wipe(&mut octets[7..13]);
        assert_eq!(&octets, b"before \0\0\0\0\0\0 after");
        super::wipe(&mut []);
    }
}
