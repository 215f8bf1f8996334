//! Names that other servers' settings have and that there are none of here: what to write instead, or why nothing is to be
//! written. They are looked at only when something is wrong.

/// Another name for the same thing, with the same values.
const SYNONYMS: &str = "\
ssl_cert ssl_cert_file
ssl_key ssl_key_file
ssl_server_cert_file ssl_cert_file
ssl_server_key_file ssl_key_file
smtpd_tls_cert_file ssl_cert_file
smtpd_tls_key_file ssl_key_file
smtpd_tls_chain_files ssl_cert_file
smtpd_tls_CAfile ssl_ca_file
smtpd_tls_auth_only disable_plaintext_auth
auth_allow_cleartext disable_plaintext_auth
default_login_user login_user
mail_path mail_location
mail_home mail_location
TLS_CERTFILE ssl_cert_file
MAILDIRPATH mail_location
maillog_file log_path
2bounce_notice_recipient double_bounce_notice_recipient
virtual_minimum_uid first_valid_uid
virtual_mailbox_limit mailbox_size_limit
smtpd_hard_error_limit max_bad_commands
";

/// The start of names, and what to do with them. `.` at the end: the whole name; `*` at the start: what follows is anywhere in
/// it. The first that fits counts.
const ADVICE: &str = "\
smtpd_tls_security_level.\tssl = yes offers TLS, ssl = required insists
smtpd_use_tls.\tssl = yes offers TLS, ssl = required insists
smtpd_enforce_tls.\tssl = required
smtpd_tls_protocols.\tssl_min_protocol = TLSv1.2 or TLSv1.3
smtpd_tls_mandatory_protocols.\tssl_min_protocol = TLSv1.2 or TLSv1.3
smtpd_tls_CApath.\tssl_ca_file, one file
smtpd_tls_ask_ccert.\tssl_verify_client_cert = yes
smtpd_tls_req_ccert.\tauth_ssl_require_client_cert = yes
smtpd_tls_wrappermode.\tstart smtpd with --tls
smtpd_tls_\tleave it out; what there is to set about TLS begins with ssl_
smtp_tls_CApath.\tsmtp_tls_CAfile, one file; its default is where Debian has all authorities
smtp_use_tls.\tsmtp_tls_security_level = may
smtp_enforce_tls.\tsmtp_tls_security_level = encrypt
smtp_tls_per_site.\tsmtp_tls_policy_maps
smtp_tls_\tleave it out; smtp_tls_security_level and smtp_tls_policy_maps say how much TLS there has to be
lmtp_tls_\tleave it out: mail is not handed on by LMTP
tls_\tleave it out: protocols and ciphers are those that are safe
smtpd_sasl_security_options.\tauth_mechanisms and disable_plaintext_auth
smtpd_sasl_tls_security_options.\tauth_mechanisms
smtpd_sasl_type.\tleave it out: passdb says where passwords are
smtpd_sasl_path.\tleave it out: passdb says where passwords are
smtpd_sasl_local_domain.\tauth_username_format
smtpd_sasl_\tleave it out
broken_sasl_auth_clients.\tleave it out
cyrus_sasl_\tleave it out: passdb says where passwords are
smtp_sasl_mechanism_filter.\tsmtp_sasl_security_options
smtp_sasl_type.\tleave it out
smtp_sasl_path.\tleave it out
inet_interfaces.\tleave it out: the launcher listens (bind of xinetd, ListenStream of systemd)
proxy_interfaces.\tleave it out; list this host's names in mydestination
inet_\tleave it out: the launcher listens
biff.\tleave it out: nobody is told
append_dot_mydomain.\tleave it out: an address is what was written
append_at_myorigin.\tleave it out: names without a domain always get myorigin
swap_bangpath.\tleave it out: ! means nothing
compatibility_level.\tleave it out
alias_database.\tleave it out: the files of alias_maps are read as they are
default_database_type.\tleave it out: maps are text files
unknown_\tleave it out: the codes of replies are those of the RFCs
mailbox_command.\ta program for all is not supported; ~/.forward may name one
mailbox_transport.\tleave it out: mail of users goes into their Maildirs
local_transport.\tleave it out: mail of users goes into their Maildirs
virtual_transport.\tleave it out: mail goes into the Maildirs of virtual_mailbox_maps or of the passdb
fallback_transport.\tluser_relay
default_transport.\trelayhost, transport_maps; a host without others: smtpd_relay_restrictions = reject_unauth_destination
relay_transport.\ttransport_maps
fallback_relay.\trelayhost
smtp_fallback_relay.\trelayhost
mail_spool_directory.\thome_mailbox or mail_location: only Maildirs are supported
relay_recipient_maps.\tnot supported: check_recipient_access in smtpd_recipient_restrictions
canonical_\tnot supported: addresses in messages are not rewritten
sender_canonical_\tnot supported: addresses in messages are not rewritten
recipient_canonical_\tnot supported: virtual_alias_maps changes recipients
smtp_generic_maps.\tnot supported: addresses in messages are not rewritten; myorigin is the domain of local senders
masquerade_\tnot supported: addresses in messages are not rewritten; myorigin is the domain of local senders
relocated_maps.\tnot supported: check_recipient_access with \"550 5.1.6 text\"
mime_header_checks.\tnot supported: header_checks looks at the message's own header
nested_header_checks.\tnot supported: header_checks looks at the message's own header
smtp_header_checks.\tnot supported: header_checks looks at what comes in
body_checks\tnot supported: no program looks at bodies
content_filter.\tnot supported yet
receive_override_options.\tleave it out
smtpd_milters.\tnot supported yet
non_smtpd_milters.\tnot supported yet
milter_\tnot supported yet
smtpd_proxy_filter.\tnot supported yet
smtpd_upstream_proxy_\thaproxy_trusted_networks
smtpd_peername_lookup.\tleave it out: clients' names are not looked up
smtpd_helo_required.\tleave it out: HELO or EHLO always has to come first
smtpd_delay_reject.\tleave it out: clients are refused at RCPT
strict_rfc821_envelopes.\tleave it out: syntax is always checked
smtputf8_\tleave it out: SMTPUTF8 is always offered
smtpd_soft_error_limit.\tmax_bad_commands
smtpd_error_sleep_time.\tleave it out: nobody waits
smtpd_reject_\tleave it out
smtpd_client_\tthe launcher's: instances, per_source and cps of xinetd, MaxConnections of systemd
smtpd_end_of_data_restrictions.\tsmtpd_data_restrictions
smtpd_etrn_restrictions.\tleave it out: ETRN is refused
smtpd_forbid_\tleave it out: bare line feeds and early talkers are always refused
smtpd_restriction_classes.\tnot supported
smtpd_noop_commands.\tleave it out
anvil_\tthe launcher's: instances, per_source and cps of xinetd, MaxConnections of systemd
postscreen_\tleave it out
dnsblog_\tleave it out
tlsproxy_\tleave it out
authorized_flush_users.\tleave it out: root and mail_owner run the queue
authorized_submit_users.\tnot supported: whoever may execute sendmail may submit
authorized_verp_clients.\tnot supported
address_verify_\tnot supported: other hosts are not probed
queue_run_delay.\tthe timer's: tinmail-queue.timer, or cron
queue_minfree.\tleave it out: a full disk is told as 452
qmgr_\tleave it out
trigger_timeout.\tleave it out
notify_classes.\tdouble_bounce_notice_recipient
bounce_notice_recipient.\tdouble_bounce_notice_recipient
error_notice_recipient.\tdouble_bounce_notice_recipient
delay_notice_recipient.\tleave it out
bounce_template_file.\tnot supported
header_size_limit.\tleave it out: no header field is held in memory
mime_\tleave it out: what comes in is not changed
disable_mime_input_processing.\tleave it out: what comes in is not changed
line_length_limit.\tleave it out
smtp_line_length_limit.\tleave it out: it is 998
import_environment.\tleave it out
forward_expansion_filter.\tleave it out
smtpd_expansion_filter.\tleave it out
mailbox_delivery_lock.\tleave it out: Maildirs need no lock
virtual_mailbox_\tleave it out: virtual_mailbox_maps, virtual_mailbox_base, virtual_uid_maps and virtual_gid_maps are supported
local_\tleave it out
virtual_destination_\tleave it out
smtp_destination_\tdefault_destination_concurrency_limit
smtp_dns_support_level.\tleave it out
smtp_host_lookup.\tleave it out
smtp_address_preference.\tinet_protocols
disable_dns_lookups.\ta relayhost in brackets is not looked up as a domain
lmtp_\tleave it out: mail is not handed on by LMTP
command_directory.\tleave it out
daemon_directory.\tleave it out
data_directory.\tleave it out
program_directory.\tleave it out
config_directory.\t-c
mail_name.\tsmtpd_banner
mail_release_date.\tleave it out
mail_version.\tleave it out
multi_instance_\tleave it out: -c names another file
process_\tleave it out
readme_directory.\tleave it out
html_directory.\tleave it out
manpage_directory.\tleave it out
sample_directory.\tleave it out
meta_directory.\tleave it out
shlib_directory.\tleave it out
sendmail_path.\tleave it out
newaliases_path.\tleave it out
mailq_path.\tleave it out
setgid_group.\tleave it out: sendmail needs no group
debug_\tleave it out
debugger_command.\tleave it out
parent_domain_matches_subdomains.\tleave it out: relay_domains has those below, the other lists have not
owner_request_special.\tleave it out: it is always so
allow_percent_hack.\tleave it out: % means nothing
undisclosed_recipients_header.\tleave it out
soft_bounce.\tnot supported: tinmail queue hold keeps what is to wait
maps_rbl_\tnot supported: there is no DNS at reception
rbl_reply_maps.\tnot supported: there is no DNS at reception
default_rbl_reply.\tnot supported: there is no DNS at reception
permit_mx_backup_networks.\trelay_domains
sender_dependent_default_transport_maps.\tsender_dependent_relayhost_maps
mailbox_command_maps.\ta program for all is not supported; ~/.forward may name one
mailbox_transport_maps.\tleave it out: mail of users goes into their Maildirs
fallback_transport_maps.\tluser_relay
smtpd_policy_service_\tnot supported yet
smtpd_authorized_xforward_hosts.\tsmtpd_authorized_xclient_hosts, and XCLIENT from there
smtpd_starttls_timeout.\tlogin_timeout
smtpd_proxy_\tnot supported yet
smtp_discard_ehlo_keywords.\tleave it out
smtp_quit_timeout.\tleave it out: nobody waits for the answer to QUIT
smtp_connection_\tleave it out: one connection takes all there is for its destination
smtp_mime_header_checks.\tnot supported: header_checks looks at what comes in
smtp_nested_header_checks.\tnot supported: header_checks looks at what comes in
smtp_body_checks.\tnot supported: no program looks at bodies
smtp_tcp_port.\trelayhost, with a port
smtp_always_send_ehlo.\tleave it out: EHLO comes first
smtp_never_send_ehlo.\tleave it out: EHLO comes first
smtp_pix_\tleave it out
hopcount_limit.\tleave it out: it is 50
strict_\tleave it out
enable_\tleave it out
hash_queue_\tleave it out: the queue is one directory
max_idle.\tleave it out: no process waits for another connection
max_use.\tleave it out: each connection has a process of its own
show_user_unknown_table_name.\tleave it out: clients are not told of tables
propagate_unmatched_extensions.\tleave it out: extensions go on through virtual_alias_maps
require_home_directory.\tleave it out
expand_owner_alias.\tleave it out
virtual_alias_\tleave it out: one address may mean 1,000 others
qmqpd_\tleave it out: there is no QMQP
*_destination_concurrency_limit\tdefault_destination_concurrency_limit
*_recipient_limit\tleave it out; smtpd_recipient_limit is about what comes in
*_destination_\tleave it out
*_delivery_\tleave it out
*_recipient_refill_\tleave it out
*_transport_rate_delay\tleave it out
*_time_limit\tleave it out
*_reject_code\tleave it out: the codes of replies are those of the RFCs
*_defer_code\tleave it out: the codes of replies are those of the RFCs
*_service_name\tleave it out
";

/// Another server's word for a setting of ours.
pub(super) fn synonym(name: &str) -> Option<&'static str> {
    let mut synonyms = SYNONYMS.lines().filter_map(|line| line.split_once(' '));
    synonyms.find(|(foreign, _)| *foreign == name).map(|(_, known)| known)
}

/// What to do with another server's setting.
pub(super) fn advice(name: &str) -> Option<&'static str> {
    let mut rows = ADVICE.lines().filter_map(|line| line.split_once('\t'));
    let fits = |row: &str| match (row.strip_suffix('.'), row.strip_prefix('*')) {
        (Some(whole), _) => name == whole,
        (None, Some(part)) => name.contains(part),
        (None, None) => name.starts_with(row),
    };
    rows.find(|(row, _)| fits(row)).map(|(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::super::Setting;
    use super::*;

    #[test]
    fn every_synonym_points_to_a_setting_and_is_none() {
        for (foreign, known) in SYNONYMS.lines().filter_map(|line| line.split_once(' ')) {
            assert!(Setting::all().any(|row| row.name == known), "{foreign}");
            assert!(Setting::all().all(|row| row.name != foreign), "{foreign}");
        }
    }

    #[test]
    fn advice_is_for_foreign_names_and_each_row_is_reached() {
        let mut before: Vec<&str> = Vec::new();
        for (start, advice_text) in ADVICE.lines().filter_map(|line| line.split_once('\t')) {
            let whole = start.strip_suffix('.');
            assert!(Setting::all().all(|row| Some(row.name) != whole), "{start} is a setting");
            let name = whole.map_or_else(|| format!("{}x", start.replace('*', "x")), str::to_owned);
            assert_eq!(advice(&name), Some(advice_text), "{start} stands behind one of {before:?}");
            before.push(start);
        }
        assert_eq!(ADVICE.lines().count(), before.len());
        assert_eq!(advice("mydestinaton"), None);
        assert_eq!(advice("biff_x"), None);
    }

    /// A name in a piece of advice that looks like one of ours is one.
    #[test]
    fn advice_names_settings_that_there_are() {
        for (_, text) in ADVICE.lines().filter_map(|line| line.split_once('\t')) {
            for word in
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.contains('_'))
            {
                let is_setting = Setting::all()
                    .any(|row| row.name == word || word.ends_with('_') && row.name.starts_with(word));
                let is_other =
                    ["check_recipient_access", "reject_unauth_destination", "per_source"].contains(&word);
                assert!(is_setting || is_other, "{word}");
            }
        }
    }
}
