//! How many commands of each kind there were, and how many were taken: `ehlo=1 mail=1 rcpt=1/2 commands=3/4`.

use std::fmt;

/// In the order of Postfix's log.
const VERBS: [&str; 17] = [
    "HELO", "EHLO", "LHLO", "XCLIENT", "STARTTLS", "AUTH", "MAIL", "RCPT", "BDAT", "DATA", "RSET", "NOOP",
    "VRFY", "EXPN", "ETRN", "HELP", "QUIT",
];

/// For each verb, and in the last place for what is none: taken, and all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts([(u32, u32); VERBS.len() + 1]);

impl Counts {
    /// One more.
    pub fn count(&mut self, verb: &str, taken: bool) {
        let at = VERBS.iter().position(|known| *known == verb).unwrap_or(VERBS.len());
        if let Some((good, all)) = self.0.get_mut(at) {
            *good = good.saturating_add(u32::from(taken));
            *all = all.saturating_add(1);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut total = (0u32, 0u32);
        for ((good, all), name) in self.0.iter().zip(VERBS.iter().chain(&["UNKNOWN"])) {
            if *all > 0 {
                write!(f, "{}={} ", name.to_ascii_lowercase(), Fraction(*good, *all))?;
                total = (total.0.saturating_add(*good), total.1.saturating_add(*all));
            }
        }
        write!(f, "commands={}", Fraction(total.0, total.1))
    }
}

struct Fraction(u32, u32);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fraction(good, all) = self;
        if good == all { write!(f, "{all}") } else { write!(f, "{good}/{all}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_printed_as_postfix_does() {
        let mut counts = Counts::default();
        assert_eq!(counts.to_string(), "commands=0");
        for (verb, taken) in
            [("EHLO", true), ("MAIL", true), ("RCPT", false), ("RCPT", true), ("FOO", false), ("QUIT", true)]
        {
            counts.count(verb, taken);
        }
        assert_eq!(counts.to_string(), "ehlo=1 mail=1 rcpt=1/2 quit=1 unknown=0/1 commands=4/6");
    }
}
