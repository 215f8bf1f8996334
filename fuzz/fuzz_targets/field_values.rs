//! Values of header fields: addresses, dates, parameters, encoded words, message-ids.
#![no_main]

use common::mime::address::{self, Entry};
use common::mime::{content, date, encoded_word, header, message_id};
use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;

fuzz_target!(|octets: &[u8]| {
    let mut length = 0;
    for field in header::fields(octets) {
        assert_eq!(field.raw, &octets[length..length + field.raw.len()]);
        length += field.raw.len();
    }
    let value = header::unfold(octets);
    assert!(!value.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));

    let mut open = false;
    address::parse(&value, &mut |entry| {
        match entry {
            Entry::GroupStart(_) => assert!(!std::mem::replace(&mut open, true)),
            Entry::GroupEnd => assert!(std::mem::replace(&mut open, false)),
            Entry::Mailbox { name, route, local, domain } => {
                assert!(name.len() + route.len() + local.len() + domain.len() <= 2 * value.len() + 1);
            }
        }
        ControlFlow::Continue(())
    });
    assert!(!open);

    if let Some(found) = date::parse(&value) {
        let (year, month, day) = date::civil(i64::from(found.day));
        assert_eq!(date::day_number(year as i32, month, day), Some(found.day));
        assert!((found.seconds - i64::from(found.day) * 86_400).abs() <= 2 * 86_400);
    }

    let mut latin = |_: &[u8], octets: &[u8], text: &mut String| {
        text.extend(octets.iter().map(|&octet| char::from(octet)));
        true
    };
    if let Some(media) = content::MediaType::parse(&value) {
        for parameter in media.parameters() {
            assert!(!parameter.name.is_empty());
            content::decode_parameter(&parameter.name, &parameter.value, &mut latin);
        }
    }
    content::disposition(&value);
    content::tokens(&value);
    let mut text = String::new();
    encoded_word::decode(&value, &mut latin, &mut text);
    assert!(text.len() <= 3 * value.len());
    assert!(message_id::hashes(&value).count() <= value.len());
});
