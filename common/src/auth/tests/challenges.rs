//! Logins that answer a challenge: APOP, CRAM-MD5, SCRAM.

use super::*;
use crate::auth::scram::{ScramHash, ScramKeys};

const SECRETS: &str = "anna:{PLAIN}tanstaaf:5000:5001::/a\n\
    cram:{CRAM-MD5}4a60bd37924fc5d45b4c92ce695bac86cb234bc3028aab2a71a225cb0dedfbb9:5000:5001::/c\n\
    hashed:$1$uAm.IxEX$yiAmqibZ3zXunsYMqDmDk1:5000:5001::/h\nroot:{PLAIN}tanstaaf:0:0::/r\n\
    scram:{SCRAM-SHA-1}4096,IYbRNshM0/AprG8+Y4DvrA==,CjOJ5gCL4EDj621dFXSVZnSJBDY=,/fy7CiXgrJ49cUgfr4i2bgggslQ=:5000:5001::/s\n";

#[test]
fn digests() {
    let site = site(&["shadow", "passwd-file:DIR/users"]).users(SECRETS);
    let mut it = site.authenticator();
    let challenge = b"<1896.697170952@dbc.mtview.ca.us>";
    let hex =
        |digest: [u8; 16]| digest.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into_bytes();
    let answer = |secret: &str| hex(crate::auth::cram::cram_md5(secret.as_bytes(), challenge));
    assert_eq!(it.apop(b"anna", challenge, b"c4c9334bac560ecc979e58001b3e22fb").unwrap().uid, 5000);
    assert_eq!(it.cram_md5(b"Anna", challenge, &answer("tanstaaf")).unwrap().uid, 5000);
    assert_eq!(it.cram_md5(b"cram", challenge, &answer("p\u{e4}ssw\u{f6}rd")).unwrap().uid, 5000);
    assert!(matches!(it.cram_md5(b"root", challenge, &answer("tanstaaf")), Err(Refusal::BadId(_))));
    for user in ["anna", "cram", "hashed", "nobody", "lock"] {
        for secret in ["", "nobody's secret", "mk pass"] {
            let result = it.cram_md5(user.as_bytes(), challenge, &answer(secret));
            assert_eq!(result.unwrap_err().wire(), Wire::Failed, "{user}");
            assert_eq!(it.work().spent().len(), 1);
            let result = it.apop(
                user.as_bytes(),
                challenge,
                &hex(crate::auth::cram::apop(secret.as_bytes(), challenge)),
            );
            assert_eq!(result.unwrap_err().wire(), Wire::Failed, "{user}");
            assert_eq!(it.work().spent().len(), 1);
        }
    }
}

/// Plays the client of RFC 5802 against the authenticator.
fn scram(
    it: &mut Authenticator,
    hash: ScramHash,
    user: &str,
    password: &str,
    spoil: &str,
) -> Result<Account, Refusal> {
    let (challenge, attempt) = it.scram_start(hash, user.as_bytes())?;
    let first =
        sasl::scram::server_first("clientnonce", &challenge.nonce, &challenge.salt, challenge.iterations);
    let message = format!("n={user},r=clientnonce,{first},c=biws,r=clientnonce{}", challenge.nonce);
    let message = message.replace(&challenge.nonce, &format!("{spoil}{}", challenge.nonce));
    let message =
        if spoil == "replay" { "n=anna,r=c,r=cs,s=AAAA,i=4096,c=biws,r=cs".to_owned() } else { message };
    let mut work = Work::default();
    let keys = ScramKeys::derive(hash, password.as_bytes(), &challenge.salt, challenge.iterations, &mut work);
    let proof = keys.proof_for_tests(password.as_bytes(), message.as_bytes());
    let (account, signature) = it.scram_finish(attempt, message.as_bytes(), &proof)?;
    assert_eq!(keys.verify_proof(message.as_bytes(), &proof), Some(signature));
    Ok(account)
}

#[test]
fn scram_logins() {
    let site = site(&["shadow", "passwd-file:DIR/users"]).users(SECRETS);
    let mut it = site.authenticator();
    for hash in [ScramHash::Sha1, ScramHash::Sha256] {
        assert_eq!(scram(&mut it, hash, "anna", "tanstaaf", "").unwrap().uid, 5000);
        assert_eq!(scram(&mut it, hash, "anna", "tanstaag", ""), wrong(Cause::Mismatch));
        assert_eq!(scram(&mut it, hash, "nobody", "nobody's secret", ""), wrong(Cause::UnknownUser));
        assert_eq!(scram(&mut it, hash, "hashed", "mk pass", ""), wrong(Cause::Mismatch));
        assert!(matches!(scram(&mut it, hash, "root", "tanstaaf", ""), Err(Refusal::BadId(_))));
        assert_eq!(scram(&mut it, hash, "anna", "tanstaaf", "replay"), wrong(Cause::Mismatch));
    }
    let password = "p\u{e4}ssw\u{f6}rd";
    assert_eq!(scram(&mut it, ScramHash::Sha1, "scram", password, "").unwrap().uid, 5000);
    assert_eq!(scram(&mut it, ScramHash::Sha256, "scram", password, ""), wrong(Cause::Mismatch));
}

#[test]
fn made_up_salts_are_like_others_and_stay() {
    let site = site(&["passwd-file:DIR/users"]).users(SECRETS);
    let start = |user: &str| site.authenticator().scram_start(ScramHash::Sha1, user.as_bytes()).unwrap().0;
    for user in ["nobody", "hashed", "anna", "scram", "x1", "x2"] {
        let (one, two) = (start(user), start(user));
        assert_eq!((&one.salt, one.iterations), (&two.salt, two.iterations), "{user}");
        assert_eq!((one.salt.len(), one.iterations), (16, 4096));
        assert_ne!(one.nonce, two.nonce);
        assert!(user == "nobody" || one.salt != start("nobody").salt);
    }
    assert_eq!(start("scram").salt, sasl::decode(b"IYbRNshM0/AprG8+Y4DvrA==").unwrap().to_vec());
}
