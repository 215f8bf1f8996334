use super::*;
use common::sys::fd::socketpair;

/// The sockets of these tests wait themselves, or have room.
fn room() -> io::Result<bool> {
    std::thread::sleep(Duration::from_millis(1));
    Ok(true)
}

fn piece(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u32).to_be_bytes(), octets].concat()
}

/// The message, and whether it was complete.
fn message(source: &mut Source<'_>) -> io::Result<(Vec<u8>, bool)> {
    let mut octets = Vec::new();
    loop {
        match source.next_piece()? {
            Piece::Octets(part) => octets.extend_from_slice(part),
            Piece::Complete => return Ok((octets, true)),
            Piece::Abandoned => return Ok((octets, false)),
        }
    }
}

#[test]
fn pieces_come_in_any_parts() {
    let large = vec![b'x'; PIECE_MAX];
    let text = [b"one".as_slice(), b"two", &large].concat();
    let octets = [piece(b"one"), piece(b"two"), piece(&large), COMPLETE.to_be_bytes().to_vec()].concat();
    for cut in [1, 3, 4, 6, 7, 8, 11, 15, 16, 17, 40_000, octets.len() - 1, octets.len()] {
        let (front, writer) = socketpair().unwrap();
        let (first, rest) = octets.split_at(cut);
        let (first, rest) = (first.to_vec(), rest.to_vec());
        let sender = std::thread::spawn(move || {
            send_all(front.as_fd(), &first, &room).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            send_all(front.as_fd(), &rest, &room).unwrap();
            front
        });
        assert_eq!(
            message(&mut Source::new(&writer, &mut Vec::new())).unwrap(),
            (text.clone(), true),
            "{cut}"
        );
        // One message after the other: nothing was read beyond the mark.
        let front = sender.join().unwrap();
        send_all(front.as_fd(), &[piece(b"lost"), ABANDONED.to_be_bytes().to_vec()].concat(), &room).unwrap();
        assert_eq!(message(&mut Source::new(&writer, &mut Vec::new())).unwrap(), (b"lost".to_vec(), false));
        send_all(front.as_fd(), &COMPLETE.to_be_bytes(), &room).unwrap();
        assert!(Source::new(&writer, &mut Vec::new()).drain().unwrap());
    }
}

#[test]
fn nothing_may_follow_a_mark() {
    for mark in [COMPLETE, ABANDONED] {
        let (front, writer) = socketpair().unwrap();
        let octets = [piece(b"one"), mark.to_be_bytes().to_vec(), piece(b"two")].concat();
        send_all(front.as_fd(), &octets, &room).unwrap();
        assert!(message(&mut Source::new(&writer, &mut Vec::new())).is_err());
    }
}

#[test]
fn a_front_that_is_gone_has_abandoned_the_message() {
    let (front, writer) = socketpair().unwrap();
    let octets = [piece(b"one"), piece(b"two")].concat();
    send_all(front.as_fd(), octets.split_last().unwrap().1, &room).unwrap();
    drop(front);
    assert_eq!(message(&mut Source::new(&writer, &mut Vec::new())).unwrap(), (b"onetw".to_vec(), false));
    assert_eq!(Source::new(&writer, &mut Vec::new()).next_piece().unwrap(), Piece::Abandoned);
}

#[test]
fn a_length_that_no_front_of_ours_would_send_is_an_error() {
    for length in [PIECE_MAX as u32 + 1, u32::MAX - 1] {
        let (front, writer) = socketpair().unwrap();
        send_all(front.as_fd(), &length.to_be_bytes(), &room).unwrap();
        assert!(Source::new(&writer, &mut Vec::new()).next_piece().is_err());
    }
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let (front, _writer) = socketpair().unwrap();
    let send = |room: &dyn Fn() -> io::Result<bool>| send_all(front.as_fd(), &vec![0; 1 << 24], room);
    let over = send(&|| Err(io::ErrorKind::TimedOut.into())).unwrap_err();
    let told = send(&|| Ok(false)).unwrap_err();
    assert_eq!((over.kind(), told.kind()), (io::ErrorKind::TimedOut, io::ErrorKind::TimedOut));
}

#[test]
fn what_is_gathered_is_one_piece() {
    let mut pieces = Pieces::new(Box::new(room));
    pieces.push(b"one").unwrap();
    pieces.push(b"").unwrap();
    pieces.push(b"two").unwrap();
    pieces.close_piece();
    assert_eq!(pieces.gathered, piece(b"onetwo"));
}

#[test]
fn only_the_token_of_this_message_counts() {
    let (front, writer) = fd::socketpair().unwrap();
    let hear = |token| hear_token(front.as_fd(), token).map_err(|_| "nonsense");
    assert_eq!(hear([1; 8]), Ok(false));
    for token in [[1; 8], [2; 8], [3; 8]] {
        say_token(&writer, token);
    }
    assert_eq!(hear([2; 8]), Ok(true));
    // What is left was said of another one.
    assert_eq!(hear([4; 8]), Ok(false));
    // A writer does not wait for a front that does not listen.
    (0..1_000_000).for_each(|_| say_token(&writer, [5; 8]));
    assert_eq!(hear([6; 8]), Ok(false));
    fd::send(writer.as_fd(), b"half").unwrap();
    assert_eq!(hear([6; 8]), Err("nonsense"));
}
