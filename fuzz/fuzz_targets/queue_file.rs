//! Heads of queue files, of files in the drop directory, and what workers and the guard say to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpd::drop::format::Wanted;
use smtpd::queue::format;

fuzz_target!(|octets: &[u8]| {
    if let Ok(wanted) = Wanted::read(&mut &*octets) {
        let printed = wanted.print();
        assert_eq!(Wanted::read(&mut printed.as_bytes()).expect("what is printed can be read"), wanted);
    }
    let _ = format::parse(octets);
    // Most heads would fail for their length alone: give them the right one.
    let rest = octets.get(format::SIZES_LEN..).unwrap_or_default();
    let mut text = format::print_sizes(rest.len() + format::SIZES_LEN, 7).into_bytes();
    text.extend_from_slice(rest);
    let Ok(head) = format::parse(&text) else { return };
    assert_eq!(head.states.len(), head.envelope.recipients.len());
    let printed = format::print(&head.envelope, &head.counters, head.arrived, &head.from, head.size);
    let Ok(printed) = printed else { return };
    let again = format::parse(printed.as_bytes()).expect("what is printed can be read");
    assert_eq!((again.envelope, again.from, again.arrived), (head.envelope, head.from, head.arrived));
});
