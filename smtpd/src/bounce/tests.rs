//! What a whole report looks like is tested where it is made: `runner/attempt_tests.rs`.

use super::*;

struct Into(Vec<u8>);

impl Sink for Into {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok(String::new())
    }
}

#[test]
fn headers_end_at_the_empty_line() {
    let long = format!("A: {}\r\n", "x".repeat(9000));
    for (message, want) in [
        ("A: b\r\nC: d\r\n\r\nbody\r\n", "A: b\r\nC: d\r\n"),
        ("A: b\r\n", "A: b\r\n"),
        ("A: cut", ""),
        ("", ""),
        ("\r\nbody", ""),
        (long.as_str(), ""),
    ] {
        let mut sink = Into(Vec::new());
        copy_header(&mut message.as_bytes(), &mut sink).unwrap();
        assert_eq!(String::from_utf8(sink.0).unwrap(), want);
    }
    let many = "A: b\r\n".repeat(100_000);
    let mut sink = Into(Vec::new());
    copy_header(&mut many.as_bytes(), &mut sink).unwrap();
    assert!(sink.0.len() <= HEADER_MAX && sink.0.ends_with(b"\r\n"));
}
