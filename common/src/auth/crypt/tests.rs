//! Known answers made with Debian's libcrypt (perl's crypt, mkpasswd) and with openssl passwd; damaged hashes.

use super::*;
use proptest::prelude::*;

fn check(hash: &str, password: &[u8]) -> Result<bool, HashError> {
    let limits = HashLimits::default();
    let mut work = Work::default();
    verify(hash, password, &mut Bench { limits: &limits, lock: None, work: &mut work })
}

#[rustfmt::skip]
const KNOWN: &[(&[u8], &str)] = &[
    (b"x", "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$y$j75$F5Jx5fExrKuPp53xLKQ..1$S3/9Akd/Py.Mr8xWfrjx70QyhyFIp7YNTJ016/dxuT2"),
    (b"\xff\xa3 \xff\xa3\x80", "$y$j75$F5Jx5fExrKuPp53xLKQ..1$nJkbdeFqOJVaoP.fqDTQjPYiEXp2fYOoeiTESet5NVC"),
    (b"correct horse battery staple", "$y$j75$F5Jx5fExrKuPp53xLKQ..1$XyFxfxwa0G5N26Bxd8AIdzD64Fs3WWfQ9tsWo7cF/sB"),
    (&[b'a'; 73], "$y$j75$F5Jx5fExrKuPp53xLKQ..1$2Hb072LBxJDUuW4cJHm2f1qR30p3xiI2F4gBu4WHzs/"),
    (&[b'q'; 100], "$y$j75$F5Jx5fExrKuPp53xLKQ..1$G.Kc7AzO4gb223Bvv4VaLr8iCrIWGIMHF.fggyMbYQB"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$y$j55$aBcDeFgH$JCBSRVDOTDWgRMtEY6akbMQZeYIOc0NPVKnJR0MbBO9"),
    (&[b'a'; 73], "$y$j55$aBcDeFgH$bFh1SA..CQndgCZW6ENhHcDWa7pnVql8Kfkf09zuZeC"),
    (b"x", "$y$j55..$aBcD$gNDlLAiAj/MbXWbChTcxe6Asb86Im5nn1BanBeq0fZ."),
    (b"correct horse battery staple", "$y$j55..$aBcD$Y35MDVa04kBLFx2NTGp6Sk1jSriX/uMekHDNUUvcXzA"),
    (b"\xff\xa3 \xff\xa3\x80", "$y$j55/.$aBcD$hQ7AiadDG6LTSe801W7xACIpZCyYk2rYMq.RgBYq2w4"),
    (&[b'q'; 100], "$y$j55/.$aBcD$FhtqjdqPMSiCziHck/HSrlG3DVf/v1es1wfDaQjoKc0"),
    (b"x", "$y$.55$aBcD$URQ4Oa7/zV3tMSlu0ZBXpwMBNMfS7Ne11Z9aIio/w7/"),
    (b"correct horse battery staple", "$y$.55$aBcD$QZzlFPU8S.t53UuEk/9qW6Mid2aPUSSNDzyPV3C.wK4"),
    (b"\xff\xa3 \xff\xa3\x80", "$y$/55$aBcD$u0X8CawvRuEg8EooabMe/sie/6HgVUwsfe3biPZnsk7"),
    (&[b'q'; 100], "$y$/55$aBcD$MkiBHsAxyiXAspryFIcrQnbebS8VU5j2MrXERcOf6M4"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$7$66..../....SodiumChloride$HGFoxTMR1aq3v6cfBQqrtLzi8Lbt7hGs/9obxprkvC/"),
    (&[b'a'; 73], "$7$66..../....SodiumChloride$emnKEJItXDmNEFQxqo8fzO1zo00E9AIL3jrE2R5XwG6"),
    (b"x", "$y$jC5$aBcD$vrn.aEdupLL5SMwIZvxCkzyU2OOs682fVUBePXNsBhD"),
    (b"correct horse battery staple", "$y$j85$aBcD$6kHREL7NU7cC.wbLfuVTIYuW27VnWYoif2X9gQlQEx2"),
    (b"\xff\xa3 \xff\xa3\x80", "$7$8U..../....Yu27x7bnGRvYlUrU7uRVU.$JRdLXBq0YL9HbXl3sM8EgbGMR.0fQuj4rfOxJYKyeHD"),
    (&[b'q'; 100], "$7$8U..../....Yu27x7bnGRvYlUrU7uRVU.$J.Ht5L9ts2G84W8LzFs7YWE9x4dYqN2OsEAHfcNukbB"),
    (b"x", "$6$saltstring$nk7Qohr7tOmwY2mX639VRP.Lyvj3uhcgpatqHuLC867qfSHKq1LDuKa/h7Es9Nv0aL08pbF.cnQlRqhaoKT/D."),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$6$saltstring$BZNXVNEeZ7x0s3z1BkdgXzBo7hoNCv1F6doJQJwt7UVZHKe344jOeXz6NblpYc2627UnaAcbq7WprH91juetH1"),
    (b"\xff\xa3 \xff\xa3\x80", "$6$saltstring$fLccEjah3AAn6sdznKq1T5elTGbkNWtEmGW.hTerCh/s2kibrRfVW2u2PiTHylIgW1PrBUIKKB5p/Ffty8kqU/"),
    (b"correct horse battery staple", "$6$saltstring$qvPJY4PeugKzKQqyIJ0gRdJnpS0uaaiZ.X1SaheFedsK/yZPwlluTLS90fJPM41sD5JxCHKgGr1..qt5HqEY8."),
    (&[b'a'; 73], "$6$saltstring$IbIbM7Ql3jPGalZcjixlLzzArOIyHz7Xx.w07FFboYuVpUysp598LCwAmzsnA1MxkRU1YAgK4H/pz462.eoUf1"),
    (&[b'q'; 100], "$6$saltstring$xQCaEU5P0R03SkXufCdkD2Fx0PAeEy.anEgqgdPBq2MEM6CuqDL0656K/MSjvGI1eu/7SJ0c6YWKvw6F7aAJM1"),
    (b"x", "$6$rounds=1000$a.b/c$WOb6UvYuP3gMdYXQbLGKrWJvBEklbqd2Ya.9nQTDNm3TTZQKTbH/MRUrh4MkJcCHJ8EJH6DnD30KMuZzRC1Gr/"),
    (b"correct horse battery staple", "$6$rounds=1000$a.b/c$hqe8NVZ7FUKHY2a.sKiizI3y7Zc88rlnRHaJaXc9T0peJqBaS.HkUzD7ltpFznVymjxGMNoFKSW5jb8kDUj2e0"),
    (b"\xff\xa3 \xff\xa3\x80", "$6$sixteencharsalt.$IGtnV3b2uEQSzKTimkm53IpT41xFVr3sdOQTaIF7DhlKzhJRvp3CVpf2/5olyb781OL3/ukvblQyc1n9QG21n."),
    (&[b'q'; 100], "$6$sixteencharsalt.$nqjo1t4nv/5tym6jWiX8/V8SMC4D1q58fLn5y1SF1.xUJ0cjx3GmWe3i0A95wxEOeNQi8zWDXhFcKV2aBpAFf0"),
    (b"x", "$5$saltstring$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$5$saltstring$tV/79FUyRyNvGfmciS94zbnccDZxa8C4Dhg8hsaSdS0"),
    (b"\xff\xa3 \xff\xa3\x80", "$5$saltstring$UBbFJQN.eB/8NPzrXobJ8/jtV3kIZE2jxi5PP/zOA13"),
    (b"correct horse battery staple", "$5$saltstring$hixOXgchwauyzVtlSM/e7UnQx0qiTk74JE/YU53IbE0"),
    (&[b'a'; 73], "$5$saltstring$Mhadpq7aPLn95ChrBweYidmJxzkbscTmM5Jwo3MCzm5"),
    (&[b'q'; 100], "$5$saltstring$UKKEk8LjIs8WpucKm037Ot6iGCtnCkIT.5nGlUW6DF0"),
    (b"x", "$5$rounds=1400$anotherlongsalt$AYUlk0QIXX2i.jEdjhouTCRwjoJN5hf.xCAzz3wCjI4"),
    (b"correct horse battery staple", "$5$rounds=1400$anotherlongsalt$OroCre3qxn978APd5rxLgS4SwPB49yG8z819FMk7lk4"),
    (b"x", "$2b$04$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$2b$04$DCq7YPn5Rq63x1Lad4cll.G9am2RtjPOC3egVMnt/YUEeZj/80mXG"),
    (b"\xff\xa3 \xff\xa3\x80", "$2b$04$DCq7YPn5Rq63x1Lad4cll.G7mda2r.AQZIJuXf58hYCDp.20uhhuG"),
    (b"correct horse battery staple", "$2b$04$DCq7YPn5Rq63x1Lad4cll.Kf5ZQB9kKF/O/R1wQJqZeo4Tm5Ufq7K"),
    (&[b'a'; 73], "$2b$04$DCq7YPn5Rq63x1Lad4cll.pKwd6Iq1Gq7ZdwzLVTYRWdmybtCTqt6"),
    (&[b'q'; 100], "$2b$04$DCq7YPn5Rq63x1Lad4cll.Y4pKuFrSlfhfo53TLM2.BEKkhFeYF8G"),
    (b"x", "$2a$05$m0CrhHm10qJ3lXRY.5zDGO5INVM4rIIqI.Fy1JVAK44lDwk1D7Fzu"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$2a$05$m0CrhHm10qJ3lXRY.5zDGOl7FttTsv6vOCd7j6yGO8Otyt4Aq7riG"),
    (b"\xff\xa3 \xff\xa3\x80", "$2a$05$m0CrhHm10qJ3lXRY.5zDGObuxttm186UGorF9960k22yAunRYBSV6"),
    (b"correct horse battery staple", "$2a$05$m0CrhHm10qJ3lXRY.5zDGOMpg4CFvP36O03ZxCxft5gz2tXuiPh.O"),
    (&[b'a'; 73], "$2a$05$m0CrhHm10qJ3lXRY.5zDGO/89jENzfGX57Zu6cfkvT21x5xvbgJES"),
    (&[b'q'; 100], "$2a$05$m0CrhHm10qJ3lXRY.5zDGOmmypiOGpmrAbq41e8LLBX5SfIrYCrpO"),
    (b"x", "$2y$06$aTsUwsyowQuzRrDqFflhgepv4FoMtvBYxsP7KMJHxnDfIK7YayxQO"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$2y$06$aTsUwsyowQuzRrDqFflhgeWaT3EsjelxWA1pNNADJRqJ5K7WoqIEe"),
    (b"\xff\xa3 \xff\xa3\x80", "$2y$06$aTsUwsyowQuzRrDqFflhge.nicMosG0a.1lx/O.SvgiCBS/AB/B92"),
    (b"correct horse battery staple", "$2y$06$aTsUwsyowQuzRrDqFflhgeEh5jCKavdGcGEj9/LTxpAwBFm/x9BYC"),
    (&[b'a'; 73], "$2y$06$aTsUwsyowQuzRrDqFflhge0LcFrVdqLtgGtRRhbdguzqsYDHe5WAG"),
    (&[b'q'; 100], "$2y$06$aTsUwsyowQuzRrDqFflhgeYP6XiFk26sq3qT3Zt6mwgM0dcbtW7A6"),
    (b"x", "$1$saltsalt$4px9i58NU2Z2/vZOUlGjq."),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$1$saltsalt$BCnFYBlTD5LGL8V6/LtMc0"),
    (b"\xff\xa3 \xff\xa3\x80", "$1$saltsalt$1CrZUmmQmp8/v4oKUzxgt/"),
    (b"correct horse battery staple", "$1$saltsalt$BsXyQbZiQujHkdhwPwdol."),
    (&[b'a'; 73], "$1$saltsalt$XSQgI9KF1aGpKzCCvam2W."),
    (&[b'q'; 100], "$1$saltsalt$F4K44zydEXI/ycYluxI0U0"),
    (b"x", "$1$a$TYcRT0JumNkKBBlirG1X4/"),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$1$a$nvtrlfNwXIoOn.S.K8/4U."),
    (b"\xff\xa3 \xff\xa3\x80", "$1$a$CtbrUSq296NXVGzWTlq4J0"),
    (b"correct horse battery staple", "$1$a$qc3EgvGJYhbvZDRZobYBZ."),
    (&[b'a'; 73], "$1$a$0pI2BoBXQCrIpGFBrZR38/"),
    (&[b'q'; 100], "$1$a$9NR6YoBxKEX7mHKzWvaL01"),
    (b"x", "$1$$LP5.V3ajGqHDdXW6XwZQy."),
    (b"p\xc3\xa4ssw\xc3\xb6rd \xe2\x82\xac", "$1$$zFjY5kpG0q.w2StDsObK00"),
    (b"\xff\xa3 \xff\xa3\x80", "$1$$jJfLaf9qpVgmr0BQrXZ.z/"),
    (b"correct horse battery staple", "$1$$zoYVCpjXXFW7mz9BsFHro."),
    (&[b'a'; 73], "$1$$yPtGAQv3AN6.yN8ez6Ufy0"),
    (&[b'q'; 100], "$1$$vQGMnXVIsUEokdfQ.o6K/0"),
    // mkpasswd
    (b"mk pass", "$y$j9T$6oA7iE9hyHwpvjMoafvjj1$N2DmxuUZ4MIOfK6rneg5cgcRwRgtkHsRpE4NFKsE4M1"),
    (b"mk pass", "$6$04uy9VdgCb3f4967$bQgT0Q5Yn9IZ8cV5.DWC3N/PVdbacaVv5dl2O0Q5xpW4jb1gmTgsrQ1JJ/H3HC3iHuKux.fH2iypHLWBLXnJN."),
    (b"mk pass", "$2b$05$Pv7qLGiL4x/9CaLYk0qo3uUQaE/u0DvzLqNKrso1BGtulUFiUol6a"),
    (b"mk pass", "$2a$05$kz1EixCI5aS30bNFc5jFfuLA.sFbo/j1gEFrPxUYjJaRezhHEEkGK"),
    (b"mk pass", "$5$mB2Vh7oAMyv2fHNG$.OS6rpk3hGLDtcctS4dYbG/4TYLWvKpbZeGPIkkg3M6"),
    (b"mk pass", "$1$uAm.IxEX$yiAmqibZ3zXunsYMqDmDk1"),
    (b"mk pass", "$7$8U..../....Yu27x7bnGRvYlUrU7uRVU.$BhmuuqiDuF3AHWfaB5J8VW.xP8nYP0/KkFWbjwIXdH4"),
    // openssl passwd
    (b"ossl", "$6$abc$i9b6uDNeIpepVMxqLA8SGZkidJmqQdUPD7wQPOf2lHm3VJrUD0/C087rrh.bx1ZWek4VUr19d.VB5b4Ae9Pyc/"),
    (b"ossl", "$5$abc$U.XsbQWfsvYapx465klZ8GwieE3utKxIwowuj01.Zc7"),
    (b"ossl", "$1$abc$WJArIahhCS4xGijMdzEyW."),
];

#[test]
fn hashes_of_other_programs_are_verified() {
    let mut settings = std::collections::BTreeSet::new();
    for (password, hash) in KNOWN {
        assert_eq!(check(hash, password), Ok(true), "{hash}");
        // A wrong password once for each salt: these hashes take their time.
        if !settings.insert(hash.rsplit_once('$').map(|(setting, digest)| (setting, digest.len()))) {
            continue;
        }
        let mut wrong = password.to_vec();
        wrong[0] ^= 1;
        assert_eq!(check(hash, &wrong), Ok(false), "{hash}");
    }
}

/// Fresh hashes with fresh salts; a plain user may be without mkpasswd(1).
#[test]
fn hashes_that_mkpasswd_makes_now() {
    use std::process::Command;
    for (method, rounds) in [
        ("yescrypt", "1"),
        ("scrypt", "6"),
        ("bcrypt", "4"),
        ("bcrypt-a", "4"),
        ("sha512crypt", "1000"),
        ("sha256crypt", "1000"),
        ("md5crypt", ""),
    ] {
        for password in ["x", "p\u{e4}ssw\u{f6}rd \u{20ac}", "a longer one: with $, {} and \\ in it"] {
            let mut command = Command::new("mkpasswd");
            command.args(["-m", method]);
            if !rounds.is_empty() {
                command.args(["-R", rounds]);
            }
            let output = match command.args(["--", password]).output() {
                Ok(output) => output,
                // Where root runs the tests, what they need is installed.
                Err(error) => {
                    assert!(!crate::sys::process::is_root(), "mkpasswd: {error}");
                    println!("skipped: no mkpasswd");
                    return;
                }
            };
            let hash = String::from_utf8(output.stdout).unwrap();
            assert!(
                output.status.success(),
                "mkpasswd -m {method}: {:?}",
                output.stderr.escape_ascii().to_string()
            );
            assert_eq!(check(hash.trim_end(), password.as_bytes()), Ok(true), "{hash}");
            assert_eq!(check(hash.trim_end(), b"wrong"), Ok(false), "{hash}");
        }
    }
}

#[test]
fn only_72_octets_count_in_bcrypt() {
    let (password, hash) = KNOWN.iter().find(|(p, h)| p.len() == 100 && h.starts_with("$2b$")).unwrap();
    assert_eq!(check(hash, &password[..72]), Ok(true));
    assert_eq!(check(hash, &password[..71]), Ok(false));
}

/// (hash, what becomes of it). Lower-case: damaged; the others by name.
const DAMAGED: &[&str] = &[
    "",
    "$",
    "$y",
    "$y$",
    "$y$$$",
    "$y$j9T",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM22",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadq!2",
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2$",
    // A salt whose spare bits are set, and one of a single character.
    "$y$j9T$zz$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$y$j9T$z$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    // Flavour unknown; cut parameters; hash upgrades; a ROM; trailing parameters.
    "$y$k9T$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$y$jz$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$y$j953/2$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$y$jC559$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$y$j9T/.z$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$7$",
    "$7$CU..../....$",
    "$7$C!..../....salt$rNA5KuwcLeCG7c1YV2BbcFNCHTE/jSzlYziEKIF5Dq8",
    "$7$.U..../....salt$rNA5KuwcLeCG7c1YV2BbcFNCHTE/jSzlYziEKIF5Dq8",
    "$7$C........../....salt$rNA5KuwcLeCG7c1YV2BbcFNCHTE/jSzlYziEKIF5Dq8",
    "$6$",
    "$6$salt",
    "$6$salt$short",
    "$6$seventeencharsalt$DvN34OuF.EPNjp1vCWnFgT6aciildzGR5mHzlpE2cC01KOCxqZIgfoquf2Z8Lv7vdQFYkVVzvLU5nf6CvB4J6/",
    "$5$rounds=$salt$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A",
    "$5$rounds=999$salt$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A",
    "$5$rounds=01000$salt$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A",
    "$5$rounds=+1000$salt$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A",
    "$5$rounds=99999999999999999999$salt$8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A",
    "$5$rounds=1000",
    "$2b$",
    "$2b$04",
    "$2b$4$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi",
    "$2b$03$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi",
    "$2b$32$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi",
    "$2b$04$DCq7YPn5Rq63x1Lad4cllz3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi",
    "$2b$04$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OW",
    "$2b$04$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi.",
    "$2b$04$DCq7YPn5Rq63x1Lad4cl\u{e4}3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi",
    "$1$",
    "$1$salt",
    "$1$saltsaltx$WJArIahhCS4xGijMdzEyW.",
    "$1$salt$WJArIahhCS4xGijMdzEyW",
    "$1$salt$WJArIahhCS4xGijMdzEyW:",
    // Schemes without code here.
    "$gy$j9T$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2",
    "$2x$04$DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi",
    "$md5,rounds=5$salt$$abc",
    "abJnggxhB/yWI",
    "_J9..rasmBYk8r9AiWNc",
    "!",
    "*",
    "*0",
    "x",
    "plaintext",
];

#[test]
fn damaged_hashes_are_errors() {
    for hash in DAMAGED {
        match check(hash, b"x") {
            Err(HashError::Malformed(_) | HashError::Unknown(_)) => {}
            other => panic!("{hash}: {other:?}"),
        }
        assert!(inspect(hash, &HashLimits::default()).is_err(), "{hash}");
    }
}

#[test]
fn too_costly_hashes_are_refused_before_they_are_computed() {
    let digest = "6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2";
    // N = 2^18, r = 32: a gigabyte.
    let big = format!("$y$jFT$aBcD${digest}");
    assert_eq!(check(&big, b"x"), Err(HashError::Memory { asked: (1 << 18) * 32 * 128, limit: 64 << 20 }));
    assert!(matches!(inspect(&big, &HashLimits::default()), Err(HashError::Memory { .. })));
    // The largest numbers the format can say.
    assert!(matches!(check(&format!("$y$jazzzzzz$aBcD${digest}"), b"x"), Err(HashError::Memory { .. })));
    assert!(matches!(check(&format!("$y$j9T/zzzzzz$aBcD${digest}"), b"x"), Err(HashError::Cost(_))));
    assert!(matches!(check(&format!("$y$j9T.zzzzzz$aBcD${digest}"), b"x"), Err(HashError::Cost(_))));
    assert!(matches!(check(&format!("$7$zU..../....s${digest}"), b"x"), Err(HashError::Malformed(_))));
    assert!(matches!(check(&format!("$7$Czzzzz/....s${digest}"), b"x"), Err(HashError::Memory { .. })));
    let digest = "8lNOPUYH/6hNVwI72WGU4WW1KQqblnIzRCd9nWOKs5A";
    assert!(matches!(check(&format!("$5$rounds=999999999$s${digest}"), b"x"), Err(HashError::Cost(_))));
    let digest = "DCq7YPn5Rq63x1Lad4cll.3BnWfyDHGOUUxl5oa0vMDlyQiBc.OWi";
    assert!(matches!(check(&format!("$2b$18${digest}"), b"x"), Err(HashError::Cost(_))));
}

#[test]
fn passwords_that_are_never_hashed() {
    let hash = "$1$abc$WJArIahhCS4xGijMdzEyW.";
    for password in [&b""[..], b"\0", b"ossl\0", &[b'a'; MAX_PASSWORD + 1]] {
        assert_eq!(check(hash, password), Err(HashError::Password));
    }
    assert_eq!(check(hash, &[b'a'; MAX_PASSWORD]), Ok(false));
}

#[test]
fn memory_hard_hashes_wait_for_each_other() {
    let path = std::env::temp_dir().join(format!("tinmail-lock-{}", std::process::id()));
    let holder = File::create(&path).unwrap();
    assert!(try_flock(&holder).unwrap());
    let file = File::open(&path).unwrap();
    let limits = HashLimits { wait: Duration::from_millis(30), ..HashLimits::default() };
    let mut work = Work::default();
    let mut bench = Bench { limits: &limits, lock: Some(&file), work: &mut work };
    let yescrypt = "$y$j9T$6oA7iE9hyHwpvjMoafvjj1$N2DmxuUZ4MIOfK6rneg5cgcRwRgtkHsRpE4NFKsE4M1";
    assert_eq!(verify(yescrypt, b"mk pass", &mut bench), Err(HashError::Busy));
    // What needs no memory needs no lock.
    assert_eq!(verify("$1$abc$WJArIahhCS4xGijMdzEyW.", b"ossl", &mut bench), Ok(true));
    drop(holder);
    assert_eq!(verify(yescrypt, b"mk pass", &mut bench), Ok(true));
    assert_eq!(work.spent()[1], Spent { scheme: "yescrypt", cost: 4096 * 32 });
    std::fs::remove_file(&path).unwrap();
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text in "\\PC*") {
        let _ = inspect(&text, &HashLimits::default());
    }

    #[test]
    fn no_near_hash_panics(pick in 0..KNOWN.len(), at in 0_usize..140, c in proptest::char::any()) {
        let mut text: Vec<char> = KNOWN[pick].1.chars().collect();
        let at = at % text.len();
        text[at] = c;
        let _ = inspect(&text.iter().collect::<String>(), &HashLimits::default());
        let _ = inspect(&text[..at].iter().collect::<String>(), &HashLimits::default());
    }

    #[test]
    fn base64_of_crypt_round_trips(octets: Vec<u8>) {
        let text = String::from_utf8(encode64(octets.iter().copied())).unwrap();
        prop_assert_eq!(decode64(&text), Some(octets));
    }
}

proptest! {
    // Each case computes a hash.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_parameters_panic_the_computation(
        flavour in proptest::sample::select(vec!["j", ".", "/"]), n in 2_usize..8, r in 0_usize..6, p in 0_usize..20,
        t in 0_usize..4, have in 0_usize..4,
    ) {
        let text = |index: usize| char::from(ITOA64[index]);
        let mut params = format!("{flavour}{}{}", text(n), text(r));
        if have > 0 {
            params.push(text(have - 1));
        }
        if have & 1 == 1 {
            params.push(text(p));
        }
        if have & 2 == 2 {
            params.push(text(t));
        }
        let _ = check(&format!("$y${params}$aBcD$6foLM1JhGupouWKMU70wxK61Kw9ZnecbACjJwRadqM2"), b"x");
    }
}

#[test]
fn what_is_made_here_is_understood_everywhere() {
    let [one, other] = [make(b"secret"), make(b"secret")].map(Result::unwrap);
    assert!(one.starts_with("$6$rounds=50000$") && one.len() == 16 + 16 + 1 + 86, "{}", one.len());
    assert_ne!(one, other, "each has a salt of its own");
    assert_eq!((check(&one, b"secret"), check(&one, b"Secret")), (Ok(true), Ok(false)));
    for wrong in [&b""[..], b"a\0b", &[b'x'; MAX_PASSWORD + 1]] {
        assert_eq!(make(wrong).err(), Some(HashError::Password));
    }
}
