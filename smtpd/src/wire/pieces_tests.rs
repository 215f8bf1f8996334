use super::*;
use common::sys::fd::socketpair;

fn say(to: &impl AsFd, pieces: &[&[u8]], mark: Option<u32>) {
    for piece in pieces {
        send_all(to.as_fd(), &(piece.len() as u32).to_be_bytes(), piece).unwrap();
    }
    if let Some(mark) = mark {
        send_all(to.as_fd(), &mark.to_be_bytes(), b"").unwrap();
    }
}

#[test]
fn nobody_reads_beyond_a_mark() {
    let (front, writer) = socketpair().unwrap();
    say(&front, &[b"one", b"two"], Some(COMPLETE));
    say(&front, &[b"lost"], Some(ABANDONED));
    say(&front, &[], Some(COMPLETE));
    let mut source = Source::new(&writer);
    assert_eq!(source.next_piece().unwrap(), Piece::Octets(b"one"));
    assert_eq!(source.next_piece().unwrap(), Piece::Octets(b"two"));
    assert_eq!(source.next_piece().unwrap(), Piece::Complete);
    assert!(!Source::new(&writer).drain().unwrap());
    assert!(Source::new(&writer).drain().unwrap());
}

#[test]
fn a_front_that_is_gone_has_abandoned_the_message() {
    let (front, writer) = socketpair().unwrap();
    say(&front, &[b"one"], None);
    drop(front);
    let mut source = Source::new(&writer);
    assert_eq!(source.next_piece().unwrap(), Piece::Abandoned);
    assert_eq!(Source::new(&writer).next_piece().unwrap(), Piece::Abandoned);
}

#[test]
fn a_length_that_no_front_of_ours_would_send_is_an_error() {
    let (front, writer) = socketpair().unwrap();
    say(&front, &[], Some(PIECE_MAX as u32 + 1));
    assert!(Source::new(&writer).next_piece().is_err());
}
