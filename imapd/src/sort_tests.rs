use super::*;
use crate::base_subject;
use crate::grammar::SearchKey;
use crate::search::testing::Fake;
use proptest::prelude::*;

/// Criteria, and the order of four messages.
type Case = (&'static [(bool, SortKey)], [u32; 4]);

fn by(keys: &[(bool, SortKey)]) -> Vec<SortCriterion> {
    keys.iter().map(|&(reverse, key)| SortCriterion { reverse, key }).collect()
}

fn sorted(fake: &mut Fake, criteria: &[(bool, SortKey)], budget: usize) -> Vec<u32> {
    let mut found = Found::new(fake.len());
    (1..=fake.len()).for_each(|msn| found.insert(msn));
    sort(fake, &found, &by(criteria), budget).unwrap()
}

#[test]
fn criteria() {
    use SortKey::*;
    let mut fake = Fake::new(&[
        "From: \"Zoe\" <b@x>\nTo: group: m@x;\nCc: d@x, a@x\nSubject: Re: beta\nDate: Thu, 1 Jan 1998 10:00:00 +0000\n\n",
        "From: <c@x>\nTo: n@x\nSubject: [list] Alpha (fwd)\nDate: Thu, 1 Jan 1998 12:00:00 +0300\n\nlonger than the others, as it has a body\n",
        "From: =?utf-8?q?=C3=84nne?= <A@x>\nTo: =?utf-8?q?=C3=A9?= <z@x>\nCc: C@x\nSubject: =?utf-8?q?GAMMA?=\n\n",
        "Subject:\nDate: Thu, 1 Jan 1998 10:00:00 +0000\n\n",
    ]);
    // The third has no Date: its internal date counts, long after the others'.
    fake.mails[2].0.internal_date = Some(2_000_000_000);
    let table: &[Case] = &[
        (&[(false, Arrival)], [1, 2, 4, 3]),
        (&[(true, Arrival)], [3, 4, 2, 1]),
        (&[(false, Date)], [2, 1, 4, 3]),
        (&[(true, Date)], [3, 1, 4, 2]),
        (&[(false, Size)], [4, 3, 1, 2]),
        (&[(true, Size)], [2, 1, 3, 4]),
        (&[(false, Subject)], [4, 2, 1, 3]),
        (&[(true, Subject)], [3, 1, 2, 4]),
        (&[(false, From)], [4, 3, 1, 2]),
        (&[(false, To)], [4, 1, 2, 3]),
        (&[(false, Cc)], [2, 4, 3, 1]),
        (&[(true, Cc)], [1, 3, 2, 4]),
        // Without display name the address; the group by its name.
        (&[(false, DisplayFrom)], [4, 3, 2, 1]),
        (&[(false, DisplayTo)], [4, 3, 1, 2]),
        (&[(false, Cc), (true, Size)], [2, 4, 3, 1]),
        (&[(false, Cc), (false, Size)], [4, 2, 3, 1]),
        (&[(true, Cc), (false, Subject)], [1, 3, 4, 2]),
        (&[(false, Date), (true, From)], [2, 1, 4, 3]),
        (&[(false, Date), (false, From)], [2, 4, 1, 3]),
    ];
    for (criteria, want) in table {
        for is_new in [false, true] {
            fake.is_new = is_new;
            assert_eq!(sorted(&mut fake, criteria, BUDGET), want, "{criteria:?}");
            assert_eq!(sorted(&mut fake, criteria, 1), want, "{criteria:?} in small pieces");
        }
    }
}

#[test]
fn no_more_digests_than_needed() {
    let mut fake = Fake::new(&["Subject: a\n\n", "Subject: b\n\n", "Subject: c\n\n"]);
    sorted(&mut fake, &[(false, SortKey::Arrival), (false, SortKey::Subject)], BUDGET);
    assert!(fake.digested.is_empty());
}

#[test]
fn the_answer() {
    let show = |fake: &mut Fake, uid, key| {
        let arguments =
            SortArguments { criteria: by(&[(true, SortKey::Arrival)]), charset: b"utf-8".to_vec(), key };
        let mut out = Vec::new();
        answer(fake, uid, &arguments, &mut |octets| {
            out.extend_from_slice(octets);
            Ok(())
        })
        .unwrap();
        String::from_utf8(out).unwrap()
    };
    let mut fake = Fake::new(&["a: b\n\n"; 3]);
    assert_eq!(show(&mut fake, false, SearchKey::All), "* SORT 3 2 1\r\n");
    assert_eq!(show(&mut fake, true, SearchKey::Larger(0)), "* SORT 30 20 10\r\n");
    assert_eq!(show(&mut fake, true, SearchKey::Larger(999)), "* SORT\r\n");
    // RFC 7162 section 3.1.9.
    assert_eq!(show(&mut fake, false, SearchKey::ModSeq(1)), "* SORT 3 2 1 (MODSEQ 300)\r\n");
    assert_eq!(show(&mut fake, false, SearchKey::ModSeq(999)), "* SORT\r\n");
    fake.gone.insert(2);
    assert_eq!(show(&mut fake, false, SearchKey::All), "* SORT 3 2 1\r\n");
}

const SUBJECTS: [&str; 7] = [
    "",
    "same beginning of a subject and then a",
    "Same beginning of a subject and then B",
    "Re: same beginning of a subject and then a",
    "same beginning of a subject",
    "other",
    "\u{e4}hnlich",
];

proptest! {
    #[test]
    fn as_the_naive_one(
        mails in proptest::collection::vec((0..SUBJECTS.len(), 0u8..3, 0i64..3), 0..12),
        criteria in proptest::collection::vec((any::<bool>(), 0usize..4), 0..4),
        budget in prop_oneof![Just(1), Just(200), Just(BUDGET)],
    ) {
        let mut fake = Fake::default();
        for (subject, from, date) in &mails {
            let text = format!("From: {}@x\nSubject: {}\n\n", char::from(b'a' + from), SUBJECTS[*subject]);
            fake.push(text.as_bytes()).internal_date = Some(*date);
        }
        let keys = [SortKey::Subject, SortKey::From, SortKey::Arrival, SortKey::Size];
        let criteria: Vec<(bool, SortKey)> = criteria.iter().map(|&(reverse, key)| (reverse, keys[key])).collect();
        let key = |msn: u32, key: SortKey| -> Vec<u8> {
            let (subject, from, date) = &mails[msn as usize - 1];
            match key {
                SortKey::Subject => {
                    let mut folded = casemap::folded(SUBJECTS[*subject]);
                    base_subject::squeeze(&mut folded);
                    base_subject::base(&folded).text.to_vec()
                }
                SortKey::From => vec![*from],
                SortKey::Arrival => date.to_be_bytes().to_vec(),
                _ => (SUBJECTS[*subject].len() as u64).to_be_bytes().to_vec(),
            }
        };
        let mut want: Vec<u32> = (1..=mails.len() as u32).collect();
        want.sort_by(|a, b| {
            criteria.iter().map(|(reverse, sort)| {
                let order = key(*a, *sort).cmp(&key(*b, *sort));
                if *reverse { order.reverse() } else { order }
            }).find(|order| order.is_ne()).unwrap_or(a.cmp(b))
        });
        prop_assert_eq!(sorted(&mut fake, &criteria, budget), want);
    }
}
