//! Tests of [`super`], with the certificates of tests/certs/clients.

use super::super::testing::{certificate, path};
use super::*;
use std::time::Duration;

/// 2026, and centuries around it.
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// `ssl_ca_file` with the content of these files.
fn file(name: &str, parts: &[&str]) -> PathBuf {
    let file = std::env::temp_dir().join(format!("tinmail-ca-{name}-{}", std::process::id()));
    let text = parts.iter().map(|part| std::fs::read_to_string(path(part)).unwrap()).collect::<String>();
    std::fs::write(&file, text).unwrap();
    file
}

fn load(name: &str, parts: &[&str]) -> Result<Authorities, CaError> {
    let file = file(name, parts);
    let loaded = Authorities::load(Some(&file));
    std::fs::remove_file(file).unwrap();
    loaded
}

#[test]
fn who_is_vouched_for() {
    let plain = load("plain", &["ca.pem"]).unwrap();
    let listed = load("listed", &["ca.pem", "crl.pem"]).unwrap();
    let both = load("both", &["other.pem", "crl.pem", "ca.pem"]).unwrap();
    let rolled = load("rolled", &["other.pem", "ca.pem", "crl.pem", "other-crl.pem"]).unwrap();
    let short = load("short", &["short.pem"]).unwrap();
    let old = load("old", &["ca.pem", "old-crl.pem"]).unwrap();
    let expired = "certificate has expired";
    let rows = [
        (&plain, "anna", NOW, false, ""),
        (&plain, "rsa", NOW, false, ""),
        (&plain, "ed25519", NOW, false, ""),
        (&plain, "revoked", NOW, false, ""),
        (&plain, "anna", NOW, true, "unable to get certificate CRL"),
        (&plain, "expired", NOW, false, expired),
        (&plain, "early", NOW, false, "certificate is not yet valid"),
        (&plain, "server", NOW, false, "unsuitable certificate purpose"),
        (&plain, "stranger", NOW, false, "certificate signature failure"),
        // A CA is no client, not even the one that is trusted.
        (&plain, "ca", NOW, false, "the certificate of a CA"),
        (&listed, "anna", NOW, true, ""),
        (&listed, "revoked", NOW, false, "certificate revoked"),
        (&both, "anna", NOW, true, ""),
        (&both, "revoked", NOW, true, "certificate revoked"),
        // Nobody knows whom a CA of the same name has revoked.
        (&both, "stranger", NOW, false, "CRL signature failure"),
        (&rolled, "stranger", NOW, true, ""),
        (&rolled, "anna", NOW, true, ""),
        (&rolled, "revoked", NOW, true, "certificate revoked"),
        (&old, "anna", NOW, false, "CRL has expired"),
        // The CA is not valid for ever either.
        (&short, "late", 1_600_000_000, false, ""),
        (&short, "late", NOW, false, "unable to get local issuer certificate"),
        (&short, "late", 1_500_000_000, false, "certificate is not yet valid"),
    ];
    for (authorities, name, now, crl_required, want) in rows {
        let verdict = authorities.verify(&[certificate(name)], at(now), crl_required);
        let words = verdict.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(words, want, "{name} at {now}, CRL {crl_required}");
    }
    assert!(plain.verify(&[], at(NOW), false).is_err());
    assert!(plain.verify(&[CertificateDer::from(b"rubbish".to_vec())], at(NOW), false).is_err());
}

#[test]
fn names_are_those_of_the_cas() {
    let names = load("names", &["ca.pem"]).unwrap().names();
    let subject = subject::of(&certificate("ca")).unwrap().to_vec();
    assert_eq!(names, [[&[0x30, subject.len() as u8][..], &subject].concat()]);
    let many = load("many", &["ca.pem"; 300]).unwrap();
    assert_eq!(many.names(), [[0u8; 0]; 0], "too many to name");
}

#[test]
fn files_that_cannot_be_used() {
    let text = |name: &str, text: &str| {
        let file = file(name, &[]);
        std::fs::write(&file, text).unwrap();
        let error = Authorities::load(Some(&file)).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        error.replace(file.to_str().unwrap(), "FILE")
    };
    let ca = std::fs::read_to_string(path("ca.pem")).unwrap();
    let section = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    assert_eq!(text("empty", ""), "ssl_ca_file = FILE: no certificate in it (PEM expected)");
    assert!(text("rubbish", &section("CERTIFICATE")).starts_with("ssl_ca_file = FILE: certificate 1: "));
    assert!(
        text("list", &(ca.clone() + &section("X509 CRL")))
            .starts_with("ssl_ca_file = FILE: revocation list 1: ")
    );
    assert!(text("cut", &ca[..200]).starts_with("ssl_ca_file = FILE: "));
    assert!(text("long", &" ".repeat(FILE_MAX as usize + 1)).ends_with("more than 4194304 octets"));
    assert!(matches!(Authorities::load(None), Err(CaError::NotSet)));
    let missing = Authorities::load(Some(Path::new("/nowhere"))).unwrap_err().to_string();
    assert!(missing.starts_with("ssl_ca_file = /nowhere: No such file"), "{missing}");
}

#[test]
fn findings_for_the_administrator() {
    let all = |parts: &[&str], crl_required, now| -> Vec<String> {
        let findings = load("findings", parts).unwrap().findings(crl_required, at(now));
        findings.iter().map(Finding::to_string).collect()
    };
    assert_eq!(all(&["ca.pem", "crl.pem"], true, NOW), [""; 0]);
    assert_eq!(all(&["ca.pem"], false, NOW), [""; 0]);
    assert!(
        all(&["ca.pem"], true, NOW)[0].starts_with("error: ssl_require_crl = yes, but no revocation list")
    );
    assert!(
        all(&["ca.pem", "old-crl.pem"], true, NOW)[0]
            .starts_with("error: ssl_ca_file, revocation list 1: out of date since 2021-01-01T00:00:00Z")
    );
    assert!(
        all(&["expired.pem"], false, NOW)[0]
            .starts_with("error: ssl_ca_file, certificate 1: expired on 2021")
    );
    assert!(
        all(&["ca.pem", "anna.pem"], false, NOW)[0]
            .starts_with("warning: ssl_ca_file, certificate 2: not a CA's")
    );
    assert!(
        all(&["ca.pem"], false, 0)[0].starts_with("error: ssl_ca_file, certificate 1: not valid before 2020")
    );
}
