use super::*;
use std::net::TcpListener;
use std::thread;

fn conf(servers: Vec<SocketAddr>) -> ResolvConf {
    ResolvConf { servers, timeout: Duration::from_millis(300), attempts: 1, over_tcp: false }
}

fn nxdomain(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x83]);
    answer
}

/// A server that answers one question with these datagrams.
fn server(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 600];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        for answer in answers(&buffer[..length]) {
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

#[test]
fn forged_answers_are_passed_over() {
    let address = server(|question| {
        let good = nxdomain(question);
        let mut wrong_id = good.clone();
        wrong_id[0] ^= 1;
        wrong_id[3] = 0x80;
        vec![vec![], b"junk".to_vec(), wrong_id, question.to_vec(), good]
    });
    assert_eq!(ask(&conf(vec![address]), "a.test", Kind::Mx), Said::NoSuchName);
}

#[test]
fn a_silent_server_is_not_waited_for_for_ever() {
    let address = server(|_| vec![]);
    let said = ask(&conf(vec![address]), "a.test", Kind::A);
    assert!(matches!(said, Said::Nothing(text) if text.ends_with("no answer in time")));
}

#[test]
fn the_next_server_is_asked() {
    let refused = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failing = server(|question| {
        let mut answer = nxdomain(question);
        answer[3] = 0x82;
        vec![answer]
    });
    let good = server(|question| vec![nxdomain(question)]);
    assert_eq!(ask(&conf(vec![refused, failing, good]), "a.test", Kind::A), Said::NoSuchName);
    assert!(matches!(ask(&conf(vec![refused]), "a.test", Kind::A), Said::Nothing(_)));
}

#[test]
fn a_flood_of_forgeries_ends() {
    let address = server(|_| vec![b"junk".to_vec(); DATAGRAMS_MAX + 10]);
    assert!(matches!(ask(&conf(vec![address]), "a.test", Kind::A), Said::Nothing(_)));
}

#[test]
fn what_is_truncated_is_asked_again_over_tcp() {
    for (whole, want) in [(true, Said::NoSuchName), (false, Said::Nothing(String::new()))] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 600];
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            let mut answer = buffer[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x83, 0x80]);
            udp.send_to(&answer, from).unwrap();
            let (mut client, _) = listener.accept().unwrap();
            let mut question = [0; 600];
            let length = client.read(&mut question).unwrap();
            let answer = nxdomain(&question[2..length]);
            let length = if whole { answer.len() as u16 } else { u16::MAX };
            client.write_all(&length.to_be_bytes()).unwrap();
            for octet in answer {
                let _ = client.write_all(&[octet]);
            }
        });
        let said = ask(&conf(vec![address]), "a.test", Kind::Mx);
        assert_eq!(std::mem::discriminant(&said), std::mem::discriminant(&want), "{said:?}");
    }
}

#[test]
fn over_tcp_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut question = [0; 600];
        let length = client.read(&mut question).unwrap();
        let answer = nxdomain(&question[2..length]);
        client.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat()).unwrap();
    });
    // Nobody listens for datagrams.
    let conf = ResolvConf { over_tcp: true, ..conf(vec![address]) };
    assert_eq!(ask(&conf, "a.test", Kind::Mx), Said::NoSuchName);
}
