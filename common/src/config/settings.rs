//! The table of settings: one row each, from which everything else is derived.
//!
//! The names, helps and users stand in one constant text and the values in plain code, so that the table costs no
//! memory of a process's own (no pointers that a loader has to relocate, nothing on the heap).

use super::format::{LogoutFormat, UidlFormat, UsernameFormat};
use super::keyword::{
    CertUsernameField, Expansion, Facility, ImapWorkaround, InetProtocols, Mechanism, NetworksStyle,
    SaslOption, Set, Ssl, TlsLevel, TlsVersion, Workaround,
};
use super::mailboxes::{EmptyTrash, HierarchySeparator, NamespacePrefix, OtherPrefix, SpecialUseNames};
use super::next_hop::{RelayHost, SourceAddress};
use super::value::{
    List, MailLocation, MasterPassdb, OtherLocation, Passdb, Path, Refused, Separator, Size, Text, Value,
    WhichUsers, hours, minutes, seconds, text,
};
use crate::peer::Network;
use std::time::Duration;

macro_rules! settings {
    ($($used_by:ident $name:ident: $kind:ty = $default:expr, $help:literal;)*) => {
        /// Every setting with its value in force.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(non_snake_case, reason = "Postfix's smtp_tls_CAfile")]
        pub struct Config {
            $(#[doc = $help] pub $name: $kind,)*
        }

        /// One line per setting: name, who uses it, help.
        pub(super) const ROWS: &str =
            concat!($(stringify!($name), "\t", stringify!($used_by), "\t", $help, "\n"),*);

        impl Config {
            /// What holds without a file.
            pub const DEFAULT: Config = Config { $($name: $default,)* };

            /// `None`: there is no such setting.
            pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), Refused>> {
                match name {
                    $(stringify!($name) => Some(<$kind>::parse(value).map(|value| self.$name = value)),)*
                    _ => None,
                }
            }

            /// The value as the file would have it.
            pub fn print(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some(self.$name.print()),)*
                    _ => None,
                }
            }

            /// The settings that differ from their defaults, with their values as the file would have them.
            pub fn changed(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
                let mut changed = Vec::new();
                $({
                    let default: $kind = $default;
                    if self.$name != default {
                        changed.push((stringify!($name), self.$name.print()));
                    }
                })*
                changed.into_iter()
            }

            pub(super) fn accepted(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(<$kind>::ACCEPTED),)*
                    _ => None,
                }
            }
        }
    };
}

/// Postfix's.
const EXPANSION_FILTER: &str = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

settings! {
    all mail_location: MailLocation = MailLocation::DEFAULT, "where a user's mail is; ~, %u, %n, %d and %h are replaced";
    all first_valid_uid: u32 = 500, "users with a lower uid cannot log in; root never can";
    all last_valid_uid: u32 = 0, "users with a higher uid cannot log in; 0: no upper bound";
    all mail_uid: Text = text(""), "uid or name for virtual users whose passdb names none";
    all mail_gid: Text = text(""), "gid or name for virtual users whose passdb names none";
    imapd_smtpd message_size_limit: Size = Size::mebi(30), "octets of the largest message accepted; 0: no limit";
    all fsync_disable: bool = false, "trust the machine not to lose power: nothing is flushed to disk";

    all auth_mechanisms: Set<Mechanism> = Set::<Mechanism>::of(&[Mechanism::Plain, Mechanism::Login]), "SASL mechanisms on offer";
    all passdb: List<Passdb> = List::Borrowed(&[Passdb::Shadow]), "where passwords are looked up, in this order";
    all master_passdb: MasterPassdb = MasterPassdb(None), "passwords of those who may log in as somebody else";
    all auth_username_format: UsernameFormat = UsernameFormat::new("%Lu"), "what is made of the name that the client sends";
    all auth_username_chars: Text = text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@"),
        "characters that a user name may have; empty: all";
    all auth_master_user_separator: Separator = Separator(None), "character in user*master logins; empty: there are none";
    all disable_plaintext_auth: bool = true, "passwords only under TLS, from this host or a trusted network";
    all auth_failure_delay: Duration = seconds(2), "wait before a refused login is answered";
    all auth_hash_memory_limit: Size = Size::mebi(64), "refuse password hashes that need more memory";
    all auth_max_attempts: u32 = 3, "refused logins after which the connection ends";
    all passwd_path: Path = Path::new("/etc/passwd"), "system users";
    all shadow_path: Path = Path::new("/etc/shadow"), "their passwords";
    all group_path: Path = Path::new("/etc/group"), "their groups";

    all ssl: Ssl = Ssl::Yes, "TLS: yes offers it when there is a certificate, required insists";
    all ssl_cert_file: Path = Path::new("/etc/tinmail/cert.pem"), "certificate and its chain, PEM";
    all ssl_key_file: Path = Path::new("/etc/tinmail/key.pem"), "private key, PEM";
    all ssl_ca_file: Path = Path::new(""), "CA certificates for those of clients, and their revocation lists, PEM";
    all ssl_verify_client_cert: bool = false, "ask clients for a certificate that one of these CAs has signed";
    all ssl_require_crl: bool = false, "refuse client certificates of a CA without a revocation list";
    all auth_ssl_require_client_cert: bool = false, "no login without such a certificate, whatever else is right";
    all ssl_username_from_cert: bool = false, "the certificate says who logs in, whatever name the client says";
    all ssl_cert_username_field: CertUsernameField = CertUsernameField::CommonName, "where in its subject";
    all ssl_min_protocol: TlsVersion = TlsVersion::Tls12, "oldest TLS version accepted";

    all login_user: Text = text("nobody"), "who reads from the network before login; a user with no rights";
    all base_dir: Path = Path::new("/run/tinmail"), "directory with the empty one that this user is locked into";
    imapd_pop3d login_greeting: Text = text("tinmail ready."), "text of the first line";
    all login_timeout: Duration = seconds(60), "time to log in";
    all login_memory_limit: Size = Size::mebi(64), "address space of the process that serves until login";
    all login_trusted_networks: List<Network> = List::Borrowed(&[]), "clients from here count as secured";
    all haproxy_trusted_networks: List<Network> = List::Borrowed(&[]), "peers that begin with a PROXY header";
    all haproxy_timeout: Duration = seconds(3), "time for that header";
    all reply_timeout: Duration = minutes(5), "time without progress while the client takes a reply";
    all session_timeout: Duration = hours(24), "longest session; 0: no end";
    all session_memory_limit: Size = Size::mebi(256), "address space of the process after login, and of one that sends mail; 0: no limit";
    all max_bad_commands: u32 = 20, "bad commands after which the connection ends";
    all myhostname: Text = text(""), "this host's name; empty: as the kernel knows it";
    all syslog_facility: Facility = Facility::Mail, "syslog facility";
    all syslog_name: Text = text(""), "name in front of syslog lines (dovecot, for fail2ban on the journal); empty: none";
    all log_path: Path = Path::new(""), "log file, /dev/stderr, or empty for syslog";
    imapd_pop3d verbose_proctitle: bool = false, "show user and address in ps after the login";

    pop3d pop3_idle_timeout: Duration = minutes(10), "time between two commands";
    pop3d pop3_uidl_format: UidlFormat = UidlFormat::new("%08Xu%08Xv"), "unique-ids: %u UID, %v UIDVALIDITY, %f file name, %m MD5";
    pop3d pop3_reuse_xuidl: bool = false, "take unique-ids from X-UIDL headers where there are any";
    pop3d pop3_no_flag_updates: bool = false, "do not mark retrieved messages as seen";
    pop3d pop3_lock_session: bool = false, "keep the mailbox locked for the whole session";
    pop3d pop3_logout_format: LogoutFormat = LogoutFormat::new("top=%t/%p, retr=%r/%b, del=%d/%m, size=%s"),
        "figures in the log line of a session's end";
    pop3d pop3_client_workarounds: Set<Workaround> = Set::<Workaround>::of(&[]), "mend replies for old clients";
    pop3d pop3_enable_last: bool = false, "offer the LAST command of RFC 1460";
    pop3d pop3_login_delay: Duration = seconds(0), "time between two logins that CAPA announces; 0: none";

    imapd imap_idle_timeout: Duration = minutes(30), "time between two commands";
    imapd imap_idle_notify_interval: Duration = minutes(10), "time between two signs of life during IDLE; 0: none";
    imapd mailbox_idle_check_interval: Duration = seconds(30), "time between two looks at the mailbox where IDLE has no inotify";
    imapd imap_max_line_length: Size = Size::kibi(64), "octets of one command with its literals, messages not counted";
    imapd imap_capability: Text = text(""), "what CAPABILITY answers; +NAME adds to what it would; empty: what works";
    imapd imap_id_send: Text = text("name *"), "what ID answers: fields and values, * is our own value; empty: nothing";
    imapd imap_id_log: Text = text(""), "fields of the client's ID for the log; *: all";
    imapd_smtpd mailbox_size_limit: Size = Size::mebi(0), "octets of all of a user's mail (Maildir++ quota); 0: as maildirsize says";
    imapd mail_max_keyword_length: u32 = 50, "octets of the longest keyword a message can get";
    imapd namespace_prefix: NamespacePrefix = NamespacePrefix::NONE, "what names of mailboxes begin with: nothing, or INBOX.";
    imapd namespace_separator: HierarchySeparator = HierarchySeparator::Dot, "between the levels of a mailbox's name: . or /";
    imapd namespace_public_prefix: OtherPrefix = OtherPrefix::PUBLIC, "what names of public mailboxes begin with";
    imapd namespace_public_location: OtherLocation = OtherLocation::NONE, "where public mailboxes are; empty: there are none";
    imapd namespace_shared_prefix: OtherPrefix = OtherPrefix::SHARED, "what names of other users' mailboxes begin with";
    imapd namespace_shared_location: OtherLocation = OtherLocation::NONE, "where other users' mailboxes are; %%u, %%n, %%d: theirs; empty: not shown";
    imapd special_use: SpecialUseNames = SpecialUseNames::NONE, "mailboxes for drafts, sent and so on that have no usual name";
    imapd imap_emptytrash: EmptyTrash = EmptyTrash::NEVER, "remove what has been in these mailboxes for so many days";
    imapd imap_trashfoldername: Text = text("Trash"), "the mailbox that is Trash, also where imap_emptytrash names none";
    imapd imap_client_workarounds: Set<ImapWorkaround> = Set::<ImapWorkaround>::of(&[]), "put up with habits of clients";

    // The queue.
    smtpd queue_directory: Path = Path::new("/var/spool/tinmail"), "messages that are not yet everywhere they have to go";
    smtpd mail_owner: Text = text("mail"), "who owns the queue and speaks with other hosts; a user with no other rights";
    smtpd authorized_mailq_users: List<WhichUsers> = List::Borrowed(&[]), "who sees the whole queue with mailq; others see what they submitted";
    smtpd minimal_backoff_time: Duration = minutes(5), "pause after the first attempt; it doubles with each one";
    smtpd maximal_backoff_time: Duration = seconds(4000), "longest pause between two attempts";
    smtpd maximal_queue_lifetime: Duration = hours(5 * 24), "after this time a message is returned to its sender";
    smtpd bounce_queue_lifetime: Duration = hours(5 * 24), "after this time a bounce is given up";
    smtpd delay_warning_time: Duration = hours(0), "after this time the sender is told of the delay; 0: never";
    smtpd default_destination_concurrency_limit: u32 = 20, "processes of all queue runs that serve one destination at once";
    smtpd local_destination_concurrency_limit: u32 = 2, "deliveries of all queue runs to one user of this host at once";
    smtpd default_process_limit: u32 = 50, "processes of all queue runs, for other hosts and for this one each";
    smtpd bounce_size_limit: Size = Size(50_000), "octets of the largest message that is returned whole; of others the header is";
    smtpd double_bounce_notice_recipient: Text = text("postmaster"), "who is told of what has no sender to be told; empty: nobody";

    smtpd smtpd_banner: Text = text("$myhostname ESMTP tinmail"), "text of the first line of SMTP; it begins with this host's name";
    smtpd smtpd_timeout: Duration = minutes(5), "time between two commands, or without any data of a message";
    smtpd ipc_timeout: Duration = minutes(5), "time for the processes that write a message, while its client waits for the reply";
    smtpd smtpd_recipient_limit: u32 = 1000, "recipients of one message";
    smtpd smtpd_junk_command_limit: u32 = 100, "commands such as NOOP, RSET and VRFY between two messages; 0: no limit";
    smtpd smtpd_mail_limit: u32 = 0, "messages on one connection; 0: no limit";
    smtpd smtpd_sasl_auth_enable: bool = false, "offer AUTH without --submission too";
    smtpd smtpd_sasl_authenticated_header: bool = false, "tell everybody in Received who has logged in";
    smtpd smtpd_forbid_bare_newline_exclusions: List<Network> = List::Borrowed(&[]), "clients whose LF is made CR LF: printers and such";
    smtpd smtpd_authorized_xclient_hosts: List<Network> = List::Borrowed(&[]), "clients that may say with XCLIENT who theirs is";
    smtpd smtpd_discard_ehlo_keywords: Text = text(""), "extensions that are not offered: words such as chunking, dsn";
    smtpd header_checks: Text = text(""), "what is done with messages by their header: glob:/FILE of /PATTERN/ ACTION";
    smtpd disable_vrfy_command: bool = false, "refuse VRFY; otherwise it is answered without a look";

    smtpd mydomain: Text = text(""), "this host's domain; empty: myhostname without its first part";
    smtpd myorigin: Text = text("$myhostname"), "domain of addresses that have none";
    smtpd mydestination: Text = text("$myhostname, localhost.$mydomain, localhost"), "domains whose users are this host's; a /file has one per line";
    smtpd mynetworks: Text = text(""), "clients that may relay; empty: as mynetworks_style says";
    smtpd mynetworks_style: NetworksStyle = NetworksStyle::Host, "which clients may relay where mynetworks is empty";
    smtpd relay_domains: Text = text(""), "domains that mail is relayed to for anybody, with those below them";
    smtpd virtual_alias_domains: Text = text("$virtual_alias_maps"), "domains all of whose addresses are other names";
    smtpd virtual_alias_maps: Text = text(""), "other names of addresses: user@domain or @domain, then addresses";
    smtpd virtual_mailbox_domains: Text = text("$virtual_mailbox_maps"), "domains whose users have their domain in their names";
    smtpd virtual_mailbox_maps: Text = text(""), "which users those are: user@domain, then a Maildir; empty: as the passdb says";
    smtpd virtual_mailbox_base: Text = text(""), "directory that these Maildirs are below";
    smtpd virtual_uid_maps: Text = text(""), "who owns them: static:UID, or user@domain, then a uid; empty: as the passdb says";
    smtpd virtual_gid_maps: Text = text(""), "their groups, likewise";
    smtpd smtpd_client_restrictions: Text = text(""), "rules about the client, asked at RCPT";
    smtpd smtpd_helo_restrictions: Text = text(""), "rules about its name";
    smtpd smtpd_sender_restrictions: Text = text(""), "rules about the sender";
    smtpd smtpd_relay_restrictions: Text = text("permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"),
        "rules about who may send to other hosts";
    smtpd smtpd_recipient_restrictions: Text = text(""), "rules about the recipient";
    smtpd smtpd_data_restrictions: Text = text(""), "rules that are asked at DATA";
    smtpd smtpd_sender_login_maps: Text = text(""), "who may send as whom: sender, then user names";
    smtpd local_recipient_maps: Text = text("unix:passwd.byname $alias_maps"), "local users that there are; empty: all are tried";
    smtpd always_bcc: Text = text(""), "address that gets a blind copy of all mail that comes in";
    smtpd sender_bcc_maps: Text = text(""), "the same by sender: user@domain or @domain, then one address";
    smtpd recipient_bcc_maps: Text = text(""), "the same by recipient";
    smtpd alias_maps: Text = text("texthash:/etc/aliases"), "files of aliases, in sendmail's format";
    smtpd luser_relay: Text = text(""), "where mail for unknown local users goes: $user, $local, $extension, $domain";
    smtpd recipient_delimiter: Text = text(""), "characters between a user's name and an extension";
    smtpd forward_path: Text = text("$home/.forward${recipient_delimiter}${extension}, $home/.forward"), "files in which a user says where his mail goes";
    smtpd allow_mail_to_commands: Set<Expansion> = Set::<Expansion>::of(&[Expansion::Alias, Expansion::Forward]), "what may name programs";
    smtpd allow_mail_to_files: Set<Expansion> = Set::<Expansion>::of(&[Expansion::Alias, Expansion::Forward]), "what may name files";
    smtpd default_privs: Text = text("daemon"), "who runs the programs and writes the files of aliases; neither login_user nor mail_owner";
    smtpd command_time_limit: Duration = seconds(1000), "time for a program that takes mail";
    smtpd command_expansion_filter: Text = text(EXPANSION_FILTER), "characters that a program's environment has of a stranger's; others become _";
    smtpd export_environment: Text = text("TZ LANG"), "further variables that programs get: names, or name=value";
    smtpd home_mailbox: Text = text(""), "Maildir below a user's home directory; empty: mail_location";
    smtpd quota_full_tempfail: bool = false, "mail for a full mailbox is to come again (452), not to be returned (552)";

    // Mail that goes out.
    smtpd relayhost: RelayHost = RelayHost::To(None), "next hop of mail for others: domain, [host], [host]:port; empty: their MX hosts";
    smtpd inet_protocols: InetProtocols = InetProtocols::All, "addresses of other hosts that are used";
    smtpd sender_dependent_relayhost_maps: Text = text(""), "next hops by sender: user@domain or @domain, then a relayhost";
    smtpd transport_maps: Text = text(""), "next hops by domain of the recipient: domain, then smtp:[host]:port";
    smtpd smtp_mx_address_limit: u32 = 5, "addresses that are tried at most, one after another; 0: all";
    smtpd smtp_mx_session_limit: u32 = 2, "servers that may refuse service before it is tried again later; 0: all";
    smtpd smtp_skip_5xx_greeting: bool = true, "a server that greets with 5xx says nothing about the mail, which waits";
    smtpd disable_mime_output_conversion: bool = false, "mail goes as it is to servers that do not offer what it needs";
    smtpd smtp_bind_address: SourceAddress = SourceAddress(None), "IPv4 address of this host that connections come from";
    smtpd smtp_bind_address6: SourceAddress = SourceAddress(None), "IPv6 address of this host that connections come from";
    smtpd smtp_tls_security_level: TlsLevel = TlsLevel::May, "how much TLS other servers have to offer";
    smtpd smtp_tls_policy_maps: Text = text(""), "the same by next hop: domain or [host]:port, then a level";
    smtpd smtp_tls_wrappermode: bool = false, "TLS from the first octet; always so on port 465";
    smtpd smtp_tls_CAfile: Path = Path::new("/etc/ssl/certs/ca-certificates.crt"), "authorities that verify and secure trust, PEM";
    smtpd smtp_sasl_auth_enable: bool = true, "log in where smtp_sasl_password_maps has a password";
    smtpd smtp_sasl_password_maps: Text = text(""), "passwords: relayhost as it is written, or sender; then user:password";
    smtpd smtp_sender_dependent_authentication: bool = false, "passwords are looked up by sender first";
    smtpd smtp_sasl_security_options: Set<SaslOption> = Set::<SaslOption>::of(&[SaslOption::NoPlaintext, SaslOption::NoAnonymous]), "mechanisms not used in clear";
    smtpd smtp_sasl_tls_security_options: Set<SaslOption> = Set::<SaslOption>::of(&[SaslOption::NoAnonymous]), "mechanisms not used under TLS";
    smtpd smtp_starttls_timeout: Duration = minutes(5), "time for STARTTLS and the TLS handshake";
    smtpd smtp_helo_name: Text = text(""), "name that other servers are greeted with; empty: myhostname";
    smtpd smtp_connect_timeout: Duration = seconds(30), "time to connect to another server";
    smtpd smtp_helo_timeout: Duration = minutes(5), "time for its greeting, and for its answer to EHLO";
    smtpd smtp_mail_timeout: Duration = minutes(5), "time for its answer to MAIL";
    smtpd smtp_rcpt_timeout: Duration = minutes(5), "time for its answer to RCPT";
    smtpd smtp_data_init_timeout: Duration = minutes(2), "time for its answer to DATA";
    smtpd smtp_data_xfer_timeout: Duration = minutes(3), "time without progress while it takes the message";
    smtpd smtp_data_done_timeout: Duration = minutes(10), "time for its answer to the whole message";
    smtpd smtp_rset_timeout: Duration = seconds(20), "time for its answer to RSET";
}
