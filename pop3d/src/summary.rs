//! The figures of a session for its last log line, printed as `pop3_logout_format` wants them.

use crate::maildrop::Maildrop;
use common::config::format::expand;

/// What a session did.
#[derive(Default, Debug)]
pub struct Summary {
    top_commands: u64,
    top_octets: u64,
    retr_commands: u64,
    retr_octets: u64,
    messages: u64,
    octets: u64,
    deleted: u64,
    deleted_octets: u64,
}

impl Summary {
    /// A RETR was answered with this many octets.
    pub fn retr(&mut self, octets: u64) {
        self.retr_commands += 1;
        self.retr_octets += octets;
    }

    /// A TOP was answered with this many octets.
    pub fn top(&mut self, octets: u64) {
        self.top_commands += 1;
        self.top_octets += octets;
    }

    /// How large the maildrop was; `octets` only if they were counted.
    pub fn maildrop(&mut self, maildrop: &Maildrop) {
        self.messages = u64::from(maildrop.snapshot.len());
        self.octets = maildrop.snapshot.total_octets();
    }

    /// QUIT has removed these.
    pub fn deleted(&mut self, messages: u64, octets: u64) {
        self.deleted = messages;
        self.deleted_octets = octets;
    }

    /// The line: Dovecot's variables. `received` and `sent` are the connection's octets.
    pub fn print(&self, format: &str, received: u64, sent: u64) -> String {
        expand(format, |variable| match variable.name {
            't' => variable.print_number(self.top_commands),
            'p' => variable.print_number(self.top_octets),
            'r' => variable.print_number(self.retr_commands),
            'b' => variable.print_number(self.retr_octets),
            'd' => variable.print_number(self.deleted),
            'm' => variable.print_number(self.messages),
            's' => variable.print_number(self.octets),
            'k' => variable.print_number(self.deleted_octets),
            'i' => variable.print_number(received),
            'o' => variable.print_number(sent),
            _ => String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dovecots_default_format() {
        let mut summary = Summary::default();
        summary.retr(100);
        summary.retr(200);
        summary.top(7);
        summary.deleted(1, 90);
        (summary.messages, summary.octets) = (3, 400);
        let line = summary.print("top=%t/%p, retr=%r/%b, del=%d/%m, size=%s", 0, 0);
        assert_eq!(line, "top=1/7, retr=2/300, del=1/3, size=400");
        assert_eq!(summary.print("%i/%o %k", 5, 6), "5/6 90");
        // Every figure that the setting accepts is printed.
        assert_eq!(summary.print("%t%p%r%b%d%m%s%k%i%o", 5, 6), "172300134009056");
    }
}
