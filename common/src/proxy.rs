//! The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt, sections 2.1 and 2.2).
//!
//! Read only from addresses in `haproxy_trusted_networks`, but parsed as hostile input all the same: every length is
//! checked, and whatever is not exactly right ends the connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest version 1 line with its CRLF (section 2.1 counts 107 octets).
pub const V1_LIMIT: usize = 107;

/// Longest version 2 header that is accepted; section 2.2 wants at least 536.
pub const V2_LIMIT: usize = 1024;

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// What the octets at the start of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A header so far; more octets are needed.
    Incomplete,
    /// A complete header of `length` octets; what follows is the client's.
    Header {
        /// Octets to take off before the protocol starts.
        length: usize,
        /// What the header says.
        origin: Origin,
        /// Whether the client spoke TLS with the proxy (PP2_CLIENT_SSL).
        tls: bool,
    },
    /// No header, or a broken one. The reason is for the log.
    Invalid(&'static str),
}

/// Where the proxied connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From this client, to this address of the proxy.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
    /// From the proxy itself (a health check), or the proxy does not know: the socket's addresses stand.
    Local,
}

/// Looks at the first octets of a connection.
pub fn parse(input: &[u8]) -> Start {
    let outcome = match input.first() {
        None => return Start::Incomplete,
        Some(b'P') => parse_v1(input),
        Some(b'\r') => parse_v2(input),
        Some(_) => Err("no PROXY header"),
    };
    match outcome {
        Ok(Some(start)) => start,
        Ok(None) => Start::Incomplete,
        Err(reason) => Start::Invalid(reason),
    }
}

/// `Ok(None)`: incomplete.
type Parsed = Result<Option<Start>, &'static str>;

fn parse_v1(input: &[u8]) -> Parsed {
    const START: &[u8] = b"PROXY ";
    let known = input.len().min(START.len());
    if input[..known] != START[..known] {
        return Err("no PROXY header");
    }
    let window = &input[..input.len().min(V1_LIMIT)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == V1_LIMIT { Err("PROXY line too long") } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or("PROXY line without CR")?;
    let line = std::str::from_utf8(line).map_err(|_| "PROXY line is not ASCII")?;
    let header = |origin| Ok(Some(Start::Header { length: end + 1, origin, tls: false }));
    let mut words = line.split(' ').skip(1);
    let want_v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // Whatever follows UNKNOWN is to be ignored.
        Some("UNKNOWN") => return header(Origin::Local),
        _ => return Err("PROXY line with another protocol"),
    };
    let mut next = || words.next().ok_or("PROXY line too short");
    let (source, destination) = (v1_address(next()?, want_v4)?, v1_address(next()?, want_v4)?);
    let (from, to) = (v1_port(next()?)?, v1_port(next()?)?);
    if next().is_ok() {
        return Err("PROXY line too long");
    }
    header(Origin::Proxied {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

fn v1_address(word: &str, want_v4: bool) -> Result<IpAddr, &'static str> {
    match word.parse() {
        Ok(ip @ IpAddr::V4(_)) if want_v4 => Ok(ip),
        Ok(ip @ IpAddr::V6(_)) if !want_v4 => Ok(ip),
        _ => Err("PROXY line with a bad address"),
    }
}

/// Decimal without sign and without leading zeros.
fn v1_port(word: &str) -> Result<u16, &'static str> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain).ok_or("PROXY line with a bad port")
}

fn parse_v2(input: &[u8]) -> Parsed {
    let known = input.len().min(V2_SIGNATURE.len());
    if input[..known] != V2_SIGNATURE[..known] {
        return Err("no PROXY header");
    }
    let Some(fixed) = input.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let (version, command, family) = (fixed[12] >> 4, fixed[12] & 0x0f, fixed[13]);
    if version != 2 {
        return Err("PROXY header of another version");
    }
    if command > 1 {
        return Err("PROXY header with an unknown command");
    }
    let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > V2_LIMIT {
        return Err("PROXY header too long");
    }
    let Some(header) = input.get(..length) else { return Ok(None) };
    if command == 0 {
        // LOCAL: the receiver must take the header off and use nothing of it.
        return Ok(Some(Start::Header { length, origin: Origin::Local, tls: false }));
    }
    let body = &header[V2_FIXED..];
    let (address_length, origin) = match family {
        // AF_UNSPEC: nothing is known about the rest either, but its TLVs come first.
        0x00 => (0, Origin::Local),
        0x11 => (12, v2_inet(body, Ipv4Addr::from)?),
        0x21 => (36, v2_inet(body, Ipv6Addr::from)?),
        0x31 => (216, Origin::Local),
        _ => return Err("PROXY header for no stream protocol"),
    };
    let extensions = body.get(address_length..).ok_or("PROXY header too short for its addresses")?;
    let tls = v2_extensions(header, extensions)?;
    Ok(Some(Start::Header { length, origin, tls }))
}

/// Two addresses of N octets, then two ports.
fn v2_inet<const N: usize, A: Into<IpAddr>>(
    body: &[u8],
    address: impl Fn([u8; N]) -> A,
) -> Result<Origin, &'static str> {
    const SHORT: &str = "PROXY header too short for its addresses";
    let (source, rest) = body.split_first_chunk::<N>().ok_or(SHORT)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let ports = rest.first_chunk::<4>().ok_or(SHORT)?;
    Ok(Origin::Proxied {
        source: SocketAddr::new(address(*source).into(), u16::from_be_bytes([ports[0], ports[1]])),
        destination: SocketAddr::new(address(*destination).into(), u16::from_be_bytes([ports[2], ports[3]])),
    })
}

/// Walks the type-length-values to the exact end; returns whether the client spoke TLS.
fn v2_extensions(header: &[u8], mut rest: &[u8]) -> Result<bool, &'static str> {
    const CRC32C: u8 = 0x03;
    const SSL: u8 = 0x20;
    const CLIENT_SSL: u8 = 0x01;
    let (mut tls, mut checked) = (None, false);
    while !rest.is_empty() {
        let ([kind, high, low], after) =
            rest.split_first_chunk::<3>().ok_or("PROXY header with a cut TLV")?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, after) = after.split_at_checked(length).ok_or("PROXY header with a cut TLV")?;
        match *kind {
            CRC32C if checked => return Err("PROXY header with two checksums"),
            CRC32C => {
                let sum: [u8; 4] = value.try_into().map_err(|_| "PROXY header with a bad checksum")?;
                let at = header.len() - after.len() - sum.len();
                if crc32c_with_gap(header, at) != u32::from_be_bytes(sum) {
                    return Err("PROXY header with a wrong checksum");
                }
                checked = true;
            }
            SSL if tls.is_some() => return Err("PROXY header with two TLS records"),
            SSL => {
                // client flags (1), verification result (4), then nested TLVs that are not needed.
                let flags = value.first_chunk::<5>().ok_or("PROXY header with a cut TLS record")?[0];
                tls = Some(flags & CLIENT_SSL != 0);
            }
            _ => {}
        }
        rest = after;
    }
    Ok(tls.unwrap_or(false))
}

/// CRC-32C (Castagnoli, reflected) of the octets, with the four at `gap` taken as zero. Bit by bit: a header is
/// short, and a table would cost a page of memory.
fn crc32c_with_gap(octets: &[u8], gap: usize) -> u32 {
    let mut crc = u32::MAX;
    for (at, &octet) in octets.iter().enumerate() {
        crc ^= if (gap..gap + 4).contains(&at) { 0 } else { u32::from(octet) };
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxied(source: &str, destination: &str) -> Origin {
        Origin::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([0x20 | command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    const BODY4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 110];

    fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
        v2(1, 0x11, &[&BODY4[..], tlvs].concat())
    }

    #[test]
    fn version_1_lines() {
        let ok = [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 110\r\n", proxied("192.0.2.1:4660", "192.0.2.2:110")),
            ("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", proxied("[2001:db8::1]:65535", "[::1]:0")),
            ("PROXY UNKNOWN\r\n", Origin::Local),
            ("PROXY UNKNOWN what ever\r\n", Origin::Local),
        ];
        for (line, origin) in ok {
            let mut octets = line.as_bytes().to_vec();
            octets.extend(b"CAPA\r\n");
            let want = Start::Header { length: line.len(), origin, tls: false };
            assert_eq!(parse(&octets), want, "{line}");
            for cut in 0..line.len() {
                assert_eq!(parse(&octets[..cut]), Start::Incomplete, "{line} at {cut}");
            }
        }
        for bad in [
            "CAPA\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Start::Invalid(_)), "{bad}");
        }
    }

    #[test]
    fn version_1_ends_at_107_octets() {
        let line = |fill: usize| format!("PROXY UNKNOWN {}\r\n", "f".repeat(fill - 16));
        assert!(matches!(parse(line(107).as_bytes()), Start::Header { length: 107, .. }));
        assert_eq!(parse(line(108).as_bytes()), Start::Invalid("PROXY line too long"));
        assert_eq!(parse(&line(108).as_bytes()[..107]), Start::Invalid("PROXY line too long"));
    }

    #[test]
    fn version_2_headers() {
        let want = proxied("192.0.2.1:4660", "192.0.2.2:110");
        let header = |length, origin, tls| Start::Header { length, origin, tls };
        assert_eq!(parse(&v2(1, 0x11, &BODY4)), header(28, want, false));
        let body6: Vec<u8> = (0..36).collect();
        let six =
            proxied("[1:203:405:607:809:a0b:c0d:e0f]:8225", "[1011:1213:1415:1617:1819:1a1b:1c1d:1e1f]:8739");
        assert_eq!(parse(&v2(1, 0x21, &body6)), header(52, six, false));
        assert_eq!(parse(&v2(0, 0x11, &BODY4)), header(28, Origin::Local, false));
        assert_eq!(parse(&v2(0, 0x00, b"")), header(16, Origin::Local, false));
        assert_eq!(parse(&v2(1, 0x00, b"")), header(16, Origin::Local, false));
        assert_eq!(parse(&v2(1, 0x31, &[0; 216])), header(232, Origin::Local, false));
        assert_eq!(parse(&with_tlvs(b"\x20\0\x05\x01\0\0\0\0")), header(36, want, true));
        assert_eq!(parse(&with_tlvs(b"\x20\0\x05\x00\0\0\0\0")), header(36, want, false));
        assert_eq!(parse(&with_tlvs(b"\x04\0\x02xx\xee\0\0")), header(36, want, false));
    }

    #[test]
    fn broken_version_2_headers() {
        for bad in [
            v2(2, 0x11, &BODY4),
            v2(1, 0x12, &BODY4),
            v2(1, 0x41, &BODY4),
            v2(1, 0x11, &BODY4[..11]),
            v2(1, 0x21, &BODY4),
            v2(1, 0x31, &BODY4),
            with_tlvs(b"\x04\0"),
            with_tlvs(b"\x04\0\x03xx"),
            with_tlvs(b"\x20\0\x04\x01\0\0\0"),
            with_tlvs(b"\x03\0\x04\0\0\0\0"),
            with_tlvs(b"\x03\0\x03\0\0\0"),
            with_tlvs(b"\x20\0\x05\x01\0\0\0\0\x20\0\x05\x01\0\0\0\0"),
            v2(1, 0x00, &[4; V2_LIMIT]),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
            [&V2_SIGNATURE[..], b"\x11\x11\0\0"].concat(),
        ] {
            assert!(matches!(parse(&bad), Start::Invalid(_)), "{bad:?}");
        }
    }

    #[test]
    fn checksum_is_crc32c() {
        // The check value of the algorithm, and a header that carries its own.
        assert_eq!(crc32c_with_gap(b"123456789", 100), 0xe306_9283);
        let mut header = with_tlvs(b"\x03\0\x04\0\0\0\0");
        let at = header.len() - 4;
        let sum = crc32c_with_gap(&header, at);
        header[at..].copy_from_slice(&sum.to_be_bytes());
        assert!(matches!(parse(&header), Start::Header { .. }));
        header[20] ^= 1;
        assert!(matches!(parse(&header), Start::Invalid(_)));
    }

    proptest! {
        #[test]
        fn no_input_panics(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&octets);
            parse(&[b"PROXY ".as_slice(), &octets].concat());
            let mut header = v2(1, 0x11, &octets);
            parse(&header);
            header.extend(octets);
            parse(&header);
        }

        #[test]
        fn printed_lines_read_back(v4: (u32, u32), v6: (u128, u128), ports: (u16, u16)) {
            for (word, one, two) in [
                ("TCP4", IpAddr::V4(v4.0.into()), IpAddr::V4(v4.1.into())),
                ("TCP6", IpAddr::V6(v6.0.into()), IpAddr::V6(v6.1.into())),
            ] {
                let line = format!("PROXY {word} {one} {two} {} {}\r\n", ports.0, ports.1);
                let origin = Origin::Proxied {
                    source: SocketAddr::new(one, ports.0),
                    destination: SocketAddr::new(two, ports.1),
                };
                prop_assert_eq!(parse(line.as_bytes()), Start::Header { length: line.len(), origin, tls: false });
            }
        }

        #[test]
        fn a_version_2_header_is_incomplete_until_its_end(tlv in proptest::collection::vec(any::<u8>(), 0..60)) {
            let body = [&[0xe0, 0, tlv.len() as u8][..], &tlv].concat();
            let header = with_tlvs(&body);
            for cut in 0..header.len() {
                prop_assert_eq!(parse(&header[..cut]), Start::Incomplete);
            }
            let complete = matches!(parse(&header), Start::Header { .. });
            prop_assert!(complete);
        }
    }
}
