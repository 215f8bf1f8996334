//! What an administrator should know of a certificate: its version, its dates, whether it is a CA's.
//!
//! rustls looks at a certificate as a client does, and says nothing of the server's own. This walks over the few fields
//! of RFC 5280 4.1 that matter here and skips the rest. The file is the administrator's; what does not parse is `None`.

use super::der::{BOOLEAN, Der, EXTENSIONS, INTEGER, OCTET_STRING, OID, SEQUENCE, VERSION};
use crate::config::check::Finding;
use crate::log::Stamp;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A certificate that ends so soon should have been renewed: ACME clients renew a month before.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The fields that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// 1 to 3. TLS here, and every client of today, wants 3.
    pub version: u8,
    /// Not before, not after: seconds since 1970.
    pub validity: (i64, i64),
    /// A CA's certificate, which signs others.
    pub is_ca: bool,
}

impl Facts {
    /// Reads a certificate in DER.
    pub fn read(certificate: &[u8]) -> Option<Facts> {
        let certificate = Der(certificate).take(SEQUENCE)?;
        let mut fields = Der(Der(certificate).take(SEQUENCE)?);
        let version = match fields.take(VERSION) {
            Some(version) => match Der(version).take(INTEGER)? {
                [number @ 0..=2] => number + 1,
                _ => return None,
            },
            None => 1,
        };
        let _serial = fields.take(INTEGER)?;
        let _signature_and_issuer = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
        let mut validity = Der(fields.take(SEQUENCE)?);
        let validity = (validity.time()?, validity.time()?);
        let _subject_and_key = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
        // Unique-ids may stand between, which nobody has.
        while fields.tag().is_some_and(|tag| tag != EXTENSIONS) {
            fields.next()?;
        }
        let extensions = fields.take(EXTENSIONS).and_then(|octets| Der(octets).take(SEQUENCE));
        Some(Facts { version, validity, is_ca: is_ca(extensions.unwrap_or_default())? })
    }
}

/// Of a revocation list in DER (RFC 5280 5.1.2): when it was made, and when the next one is due, in seconds since 1970.
pub fn revocation_dates(list: &[u8]) -> Option<(i64, Option<i64>)> {
    let mut fields = Der(Der(Der(list).take(SEQUENCE)?).take(SEQUENCE)?);
    let _version = fields.take(INTEGER);
    let _signature_and_issuer = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
    Some((fields.time()?, fields.time()))
}

/// `cA` of the basic constraints (RFC 5280 4.2.1.9), which is false where it is not there.
fn is_ca(extensions: &[u8]) -> Option<bool> {
    let mut extensions = Der(extensions);
    while extensions.tag().is_some() {
        let mut extension = Der(extensions.take(SEQUENCE)?);
        if extension.take(OID)? == BASIC_CONSTRAINTS {
            let _critical = extension.take(BOOLEAN);
            let mut constraints = Der(Der(extension.take(OCTET_STRING)?).take(SEQUENCE)?);
            return Some(constraints.take(BOOLEAN).is_some_and(|octets| octets != [0]));
        }
    }
    Some(false)
}

/// What is wrong with a chain, the server's own certificate first.
pub fn findings<'a>(path: &Path, chain: impl IntoIterator<Item = &'a [u8]>, now: SystemTime) -> Vec<Finding> {
    let mut found = Vec::new();
    for (place, certificate) in (1..).zip(chain) {
        let shown = match place {
            1 => path.display().to_string(),
            _ => format!("{}, certificate {place}", path.display()),
        };
        let Some(facts) = read_or_find(&shown, certificate, &mut found) else { continue };
        let (begin, end) = (time(facts.validity.0), time(facts.validity.1));
        if end < now {
            found.push(Finding::error(format!("{shown}: expired on {}", Stamp(end)), "renew it"));
        } else if end < now + SOON {
            found.push(Finding::warning(format!("{shown}: expires on {}", Stamp(end)), "renew it"));
        }
        if begin > now {
            found.push(not_yet_valid(&shown, begin));
        }
        if place == 1 && facts.is_ca {
            let what =
                format!("{shown}: the first certificate is a CA's, which some clients refuse for a server");
            found.push(Finding::warning(
                what,
                "put the server's own first: one with basicConstraints CA:FALSE",
            ));
        }
    }
    found
}

/// Reads a certificate. That it cannot be read is a finding.
pub(super) fn read_or_find(shown: &str, certificate: &[u8], found: &mut Vec<Finding>) -> Option<Facts> {
    let facts = Facts::read(certificate);
    if facts.is_none() {
        found.push(Finding::warning(format!("{shown}: dates that cannot be read"), "have it issued again"));
    }
    facts
}

/// Of a certificate whose time has not come.
pub(super) fn not_yet_valid(shown: &str, begin: SystemTime) -> Finding {
    let what = format!("{shown}: not valid before {}", Stamp(begin));
    Finding::error(what, "wait, or set this machine's clock")
}

/// Years before 1970 are as good as 1970 here.
pub(super) fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::der::{GENERALIZED_TIME, UTC_TIME, days};
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    /// A value of at most 127 octets.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, content.len() as u8], &*content].concat()
    }

    /// A certificate without anything that does not matter here.
    fn made(version: Option<u8>, dates: [(u8, &[u8]); 2], is_ca: Option<bool>) -> Vec<u8> {
        let version =
            version.map(|version| der(VERSION, &[&der(INTEGER, &[&[version - 1]])])).unwrap_or_default();
        let dates = dates.map(|(tag, text)| der(tag, &[text]));
        let empty = der(SEQUENCE, &[]);
        let extensions = is_ca.map(|is_ca| {
            let ca = if is_ca { der(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
            let value = der(OCTET_STRING, &[&der(SEQUENCE, &[&ca])]);
            let critical = der(BOOLEAN, &[&[0xff]]);
            let usage = der(SEQUENCE, &[&der(OID, &[&[0x55, 0x1d, 0x0f]]), &der(OCTET_STRING, &[b"x"])]);
            let constraints = der(SEQUENCE, &[&der(OID, &[BASIC_CONSTRAINTS]), &critical, &value]);
            der(EXTENSIONS, &[&der(SEQUENCE, &[&usage, &constraints])])
        });
        let fields: [&[u8]; 8] = [
            &version,
            &der(INTEGER, &[&[7]]),
            &empty,
            &empty,
            &der(SEQUENCE, &[&dates.concat()]),
            &empty,
            &empty,
            &extensions.unwrap_or_default(),
        ];
        der(SEQUENCE, &[&der(SEQUENCE, &fields)])
    }

    const Y2020: (u8, &[u8]) = (UTC_TIME, b"200229120000Z");
    const Y2050: (u8, &[u8]) = (GENERALIZED_TIME, b"20500101000000Z");

    #[test]
    fn facts_of_a_real_certificate() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/certs/cert.pem");
        let certificate = CertificateDer::from_pem_file(path).unwrap();
        let facts = Facts::read(&certificate).unwrap();
        assert_eq!((facts.version, facts.is_ca), (3, true));
        assert_eq!(facts.validity, (1_795_256_115, 4_948_856_115));
        for cut in 0..certificate.len() {
            assert_eq!(Facts::read(&certificate[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn facts_of_certificates_that_nobody_should_use() {
        let facts = Facts::read(&made(None, [Y2020, Y2050], None)).unwrap();
        assert_eq!(facts, Facts { version: 1, validity: (1_582_977_600, 2_524_608_000), is_ca: false });
        assert!(Facts::read(&made(Some(3), [Y2020, Y2050], Some(true))).unwrap().is_ca);
        assert!(!Facts::read(&made(Some(3), [Y2020, Y2050], Some(false))).unwrap().is_ca);
        for bad in [
            &b"200229120000"[..],
            b"200229120000+0100",
            b"20022912000Z",
            b"201329120000Z",
            b"",
            b"2002291200a0Z",
        ] {
            assert_eq!(Facts::read(&made(Some(3), [(UTC_TIME, bad), Y2050], None)), None, "{bad:?}");
        }
        // Centuries of UTCTime, and a year before the epoch.
        let facts =
            Facts::read(&made(Some(3), [(UTC_TIME, b"500101000000Z"), (UTC_TIME, b"491231235959Z")], None))
                .unwrap();
        assert_eq!(facts.validity, (-631_152_000, 2_524_607_999));
    }

    #[test]
    fn findings_name_the_certificate_and_its_dates() {
        let day = |n: u64| UNIX_EPOCH + Duration::from_secs(1_582_977_600 + n * 86_400);
        let short = made(Some(3), [Y2020, (UTC_TIME, b"200401120000Z")], Some(false));
        let long = made(Some(3), [Y2020, Y2050], Some(true));
        let all = |chain: &[&[u8]], now| -> Vec<String> {
            findings(Path::new("/c"), chain.iter().copied(), now).iter().map(Finding::to_string).collect()
        };
        assert_eq!(all(&[&short, &long], day(10)), [""; 0]);
        assert_eq!(all(&[&short], day(20)), ["warning: /c: expires on 2020-04-01T12:00:00Z: renew it"]);
        assert_eq!(all(&[&short], day(40)), ["error: /c: expired on 2020-04-01T12:00:00Z: renew it"]);
        let early = all(&[&short], UNIX_EPOCH + Duration::from_secs(1_582_977_599));
        assert!(
            early.len() == 1 && early[0].starts_with("error: /c: not valid before 2020-02-29T12:00:00Z"),
            "{early:?}"
        );
        let second = all(&[&long, &short], day(40));
        assert!(
            second.len() == 2 && second[0].starts_with("warning: /c: the first certificate is a CA's"),
            "{second:?}"
        );
        assert!(second[1].starts_with("error: /c, certificate 2: expired"), "{second:?}");
        assert!(all(&[b"x"], day(0))[0].starts_with("warning: /c: dates that cannot be read"));
    }

    proptest! {
        #[test]
        fn no_octets_panic(octets: Vec<u8>) {
            let _ = Facts::read(&octets);
        }

        /// What begins well and goes on badly gets deeper than what is bad from the start.
        #[test]
        fn no_damage_panics(at in 0usize..200, octet: u8) {
            let mut certificate = made(Some(3), [Y2020, Y2050], Some(true));
            let place = at % certificate.len();
            certificate[place] = octet;
            if let Some(facts) = Facts::read(&certificate) {
                let _ = findings(Path::new("/c"), [&*certificate], time(facts.validity.0));
            }
        }

        #[test]
        fn days_count_up(year in 0i64..9999, month in 1i64..13, day in 1i64..29) {
            prop_assert_eq!(days(year, month, day) + 1, days(year, month, day + 1));
            let text = Stamp(time(days(1970 + year, month, day) * 86_400)).to_string();
            prop_assert!(text.starts_with(&format!("{:04}-{month:02}-{day:02}T", 1970 + year)), "{}", text);
        }
    }
}
