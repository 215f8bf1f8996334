use super::*;
use crate::address::Address;
use crate::dns::testing::{Zone, resolver};
use common::config::keyword::InetProtocols;

fn address(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

#[test]
fn passwords() {
    let mut config = Config {
        smtp_sasl_password_maps:
            "inline:{[isp.test]:submission=relay:a:b, isp2.test=second:c, anna@me.test=anna:d, bad=e}".into(),
        ..Config::DEFAULT
    };
    let user = |config: &Config, sender: &str, hop: &str| {
        let found = login(config, &Some(address(sender)), &NextHop::parse(hop).unwrap()).unwrap();
        found.map(|login| (login.user, String::from_utf8(login.password.expose().to_vec()).unwrap()))
    };
    let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    assert_eq!(user(&config, "anna@me.test", "[isp.test]:587"), pair("relay", "a:b"));
    assert_eq!(user(&config, "anna@me.test", "[ISP2.test]:25"), pair("second", "c"));
    assert_eq!(user(&config, "anna@me.test", "[isp.test]:25"), None);
    config.smtp_sender_dependent_authentication = true;
    assert_eq!(user(&config, "anna@me.test", "[isp.test]:587"), pair("anna", "d"));
    assert_eq!(user(&config, "bert@me.test", "[isp.test]:587"), pair("relay", "a:b"));
    assert!(login(&config, &None, &NextHop::parse("bad").unwrap()).is_err());
    config.smtp_sasl_auth_enable = false;
    assert_eq!(user(&config, "anna@me.test", "[isp.test]:587"), None);
}

#[test]
fn levels_of_tls() {
    let config = Config {
        smtp_tls_policy_maps:
            "inline:{a.test=none, [b.test]:587=verify, .c.test=secure, bad.test=much, odd.test=may match=x}"
                .into(),
        ..Config::DEFAULT
    };
    let level = |hop: &str| tls_level(&config, &NextHop::parse(hop).unwrap());
    for (hop, want) in [
        ("a.test", TlsLevel::None),
        ("[a.test]:25", TlsLevel::None),
        ("[b.test]:submission", TlsLevel::Verify),
        ("b.test", TlsLevel::May),
        ("x.y.c.test", TlsLevel::Secure),
        ("c.test", TlsLevel::May),
    ] {
        assert_eq!(level(hop).unwrap(), want, "{hop}");
    }
    assert!(level("bad.test").is_err() && level("odd.test").is_err());
}

#[test]
fn hosts_of_domains() {
    const ZONE: Zone = &[
        ("two.test", "20 B.test"),
        ("two.test", "10 a.test"),
        ("none.test", "192.0.2.1"),
        ("null.test", "0 "),
        ("half.test", "0 "),
        ("half.test", "5 a.test"),
        ("odd.test", "192.0.2.1"),
        ("odd.test", "5 a b.test"),
        ("odd.test", "10 *.test"),
        ("mended.test", "192.0.2.1"),
        ("mended.test", "5 a/b.test"),
        ("mended.test", "10 a.test"),
        ("bad.test", "!"),
        ("loop.test", "10 a.test"),
        ("loop.test", "20 Me.test"),
        ("loop.test", "20 c.test"),
        ("loop.test", "30 b.test"),
        ("self.test", "10 me.test"),
        ("self.test", "20 a.test"),
    ];
    let resolver = resolver(ZONE, InetProtocols::All);
    let hosts = |hop: &str| match hosts(&resolver, &NextHop::parse(hop).unwrap(), &["me.test"]) {
        Route::Hosts(hosts) => {
            Ok(hosts.into_iter().map(|host| format!("{}:{}", host.name, host.port)).collect::<Vec<_>>())
        }
        Route::Fail(status) => Err((status.code, status.enhanced.to_string())),
    };
    let fails = |code, enhanced: &str| Err((code, enhanced.to_owned()));
    let found = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
    for (hop, want) in [
        ("two.test", found(&["a.test:25", "b.test:25"])),
        ("two.test:587", found(&["a.test:587", "b.test:587"])),
        ("[two.test]", found(&["two.test:25"])),
        ("none.test", found(&["none.test:25"])),
        ("null.test", fails(556, "5.1.10")),
        ("half.test", found(&["a.test:25"])),
        // RFC 5321 section 5.1: not their own addresses.
        ("odd.test", fails(550, "5.4.4")),
        ("mended.test", found(&["a.test:25"])),
        ("nowhere.test", fails(550, "5.1.2")),
        ("bad.test", fails(451, "4.4.3")),
        ("loop.test", found(&["a.test:25"])),
        ("self.test", fails(554, "5.4.6")),
        ("[192.0.2.1]:26", found(&["192.0.2.1:26"])),
    ] {
        assert_eq!(hosts(hop), want, "{hop}");
    }
}

#[test]
fn equals_come_in_any_order() {
    let exchange = |preference, host: &str| Exchange { preference, host: host.to_owned() };
    let found = vec![exchange(20, "c"), exchange(10, "a"), exchange(10, "b"), exchange(5, "d")];
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let order: Vec<String> = order(found.clone()).into_iter().map(|exchange| exchange.host).collect();
        assert!(order[0] == "d" && order[3] == "c");
        firsts.insert(order[1].clone());
    }
    assert_eq!(firsts.len(), 2);
}
