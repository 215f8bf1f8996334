use super::super::testing::TempDir;
use super::*;

fn names(count: u32) -> Vec<String> {
    (0..count).map(|i| format!("{i}.{}:2,S", "n".repeat(i as usize % 90))).collect()
}

fn sources(names: &[String]) -> impl Iterator<Item = Source<'_>> {
    names.iter().zip(1..).map(|(name, uid)| Source {
        uid,
        octets: if uid == 7 { UNKNOWN } else { u64::from(uid) * 10 },
        flags: if uid % 3 == 0 { IN_NEW } else { 0 },
        name: name.as_bytes(),
        unique_id: (uid % 5 == 0).then_some(&b"unique"[..]),
        guid: (uid % 7 == 0).then_some(&b""[..]),
        modseq: u64::from(uid) + 100,
        date: i64::from(uid) - 3,
    })
}

fn bytes(count: u32) -> Vec<u8> {
    let (mut out, names) = (Vec::new(), names(count));
    let header = Header { uid_validity: 9, next_uid: count + 1, ..Header::default() };
    let vanished = (0..count / 10).map(|uid| Vanished { uid, modseq: 7 }).collect();
    let extras = Extras { order: (0..count).rev().collect(), vanished };
    write(&mut out, header, &extras, |visit| sources(&names).try_for_each(|message| visit(&message)))
        .unwrap();
    out
}

#[test]
fn what_is_written_is_read() {
    for count in [0, 1, 7, 200, 1000] {
        let index = Index::in_memory(bytes(count)).unwrap();
        let names = names(count);
        assert_eq!((index.header.count, index.header.uid_validity), (count, 9));
        assert_eq!(index.header.unknown, u32::from(count >= 7));
        let mut space = Vec::new();
        for (i, want) in sources(&names).enumerate() {
            let row = index.row(i as u32).unwrap();
            let got = index.parts(&row, &mut space).unwrap();
            assert_eq!(
                (got.uid, got.octets, got.flags, got.name),
                (want.uid, want.octets, want.flags, want.name)
            );
            assert_eq!((got.unique_id, got.guid), (want.unique_id, want.guid));
            assert_eq!((got.modseq, got.date), (want.modseq, want.date));
            assert_eq!(row.mail_flags, Flags::of_name(want.name));
            assert_eq!(index.at_place(i as u32).unwrap(), count - 1 - i as u32);
            assert_eq!(index.at_or_after(want.uid).unwrap(), i as u32);
        }
        assert!(index.row(count).is_err());
        assert_eq!(index.at_or_after(u32::MAX).unwrap(), count);
        let vanished: Vec<_> = (0..index.header.vanished).map(|i| index.vanished(i).unwrap().uid).collect();
        assert_eq!(vanished, (0..count / 10).collect::<Vec<_>>());
        assert_eq!((index.header.seen, index.header.first_unseen >= count), (count, true));
    }
}

#[test]
fn random_access_in_a_file() {
    let dir = TempDir::new();
    let path = dir.path().join("i");
    std::fs::write(&path, bytes(3000)).unwrap();
    let index = Index::open(File::open(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (mut space, names) = (Vec::new(), names(3000));
    for i in [2999u32, 0, 1500, 1499, 17, 2998] {
        let row = index.row(i).unwrap();
        assert_eq!(index.parts(&row, &mut space).unwrap().name, names[i as usize].as_bytes());
    }
}

#[test]
fn truncation_and_every_flipped_byte_are_noticed() {
    let whole = bytes(300);
    for length in [0, 1, 4095, 4096, whole.len() - 4096, whole.len() - 1] {
        assert!(Index::in_memory(whole[..length].to_vec()).is_none(), "{length}");
    }
    for at in (0..whole.len()).step_by(97) {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        let read_all = |index: &Index| -> io::Result<()> {
            let mut space = Vec::new();
            (0..300).try_for_each(|i| index.parts(&index.row(i)?, &mut space).map(drop))
        };
        let noticed = Index::in_memory(broken).is_none_or(|index| read_all(&index).is_err());
        // The padding of the last block is only covered when somebody reads that block, which the names do.
        assert!(noticed, "byte {at}");
    }
}

#[test]
fn blocks_of_another_index_are_noticed() {
    let (mut a, b) = (bytes(300), bytes(300));
    a.splice(4096..8192, b[4096..8192].iter().copied());
    let index = Index::in_memory(a).unwrap();
    assert!((0..300).any(|i| index.row(i).is_err()));
}
