//! What a server's answer to EHLO offers (RFC 5321 section 4.1.1.1). Hostile input; unknown keywords are passed over.

/// The service extensions of which use is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): `Some(0)`, no limit is told.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// The mechanisms of AUTH (RFC 4954), in upper case.
    pub auth: Vec<String>,
    /// LIMITS' RCPTMAX (RFC 9422): recipients of one transaction.
    pub recipients_max: Option<usize>,
    /// LIMITS' MAILMAX: transactions of one connection.
    pub mails_max: Option<usize>,
}

/// SASL mechanisms that are remembered.
const MECHANISMS_MAX: usize = 32;

impl Extensions {
    /// Reads the text of a positive reply to EHLO. Its first line is a greeting.
    pub fn parse(text: &str) -> Extensions {
        let mut found = Extensions::default();
        for line in text.split('\n').skip(1) {
            // `AUTH=LOGIN` was said before RFC 2554, and still is.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => found.pipelining = true,
                "SIZE" => found.size = Some(words.next().and_then(number).unwrap_or(0)),
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtputf8 = true,
                "CHUNKING" => found.chunking = true,
                "BINARYMIME" => found.binary_mime = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.starttls = true,
                "AUTH" => {
                    let more = words.map(str::to_ascii_uppercase);
                    found.auth.extend(more.take(MECHANISMS_MAX.saturating_sub(found.auth.len())));
                }
                "LIMITS" => {
                    for limit in line.split(' ').skip(1) {
                        found.limit(limit);
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn limit(&mut self, limit: &str) {
        let Some((name, value)) = limit.split_once('=') else { return };
        // RFC 9422 section 3: at least 1; a zero is nobody's limit.
        let value = number(value).filter(|&value| value > 0).and_then(|value| usize::try_from(value).ok());
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.recipients_max = value,
            "MAILMAX" => self.mails_max = value,
            _ => {}
        }
    }
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postfix_offers() {
        let text = "mail.example.org\nPIPELINING\nSIZE 10240000\nVRFY\nETRN\nSTARTTLS\nAUTH PLAIN login\nAUTH=PLAIN CRAM-MD5\n\
                    ENHANCEDSTATUSCODES\n8BITMIME\nDSN\nSMTPUTF8\nCHUNKING\nLIMITS RCPTMAX=20 MAILMAX=5 X=Y Z";
        let auth = ["PLAIN", "LOGIN", "PLAIN", "CRAM-MD5"].map(str::to_owned).to_vec();
        let want = Extensions {
            pipelining: true,
            size: Some(10_240_000),
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            binary_mime: false,
            dsn: true,
            starttls: true,
            auth,
            recipients_max: Some(20),
            mails_max: Some(5),
        };
        assert_eq!(Extensions::parse(text), want);
    }

    #[test]
    fn odd_offers() {
        assert_eq!(Extensions::parse("PIPELINING"), Extensions::default());
        for (line, want) in [
            ("size", Some(0)),
            ("SIZE x", Some(0)),
            ("SIZE 99999999999999999999", Some(0)),
            ("SIZE=5", Some(5)),
            ("SIZED 5", None),
        ] {
            assert_eq!(Extensions::parse(&format!("h\n{line}")).size, want, "{line}");
        }
        let many =
            format!("h\nAUTH {}\nAUTH{}\nLIMITS RCPTMAX=0 MAILMAX=-1", "A ".repeat(99), " B".repeat(99));
        let found = Extensions::parse(&many);
        assert_eq!((found.auth.len(), found.recipients_max, found.mails_max), (MECHANISMS_MAX, None, None));
    }
}
