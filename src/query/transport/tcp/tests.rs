//! The connections as clients see them, over real sockets; with a paused clock where time matters.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::MAX_MESSAGE;
use super::super::testing::{Echo, echoed, message};
use super::*;
use crate::query::counters::{TcpLimit, TcpWait};

struct Server {
    address: SocketAddr,
    counters: CounterSet,
    leaving: watch::Sender<bool>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

fn serve(limits: TcpLimits) -> Server {
    serve_at("127.0.0.1:0", limits)
}

fn serve_at(address: &str, limits: TcpLimits) -> Server {
    let server = TcpServer::bind(&[address.parse().expect("address")], NonZeroUsize::MIN).expect("bind");
    let address = server.local_addrs()[0];
    let counters = CounterSet::new();
    let gate = Arc::new(Gate::new(limits.clone()));
    let shared = ConnectionContext { responder: Arc::new(Echo), counters: counters.register(), limits, gate };
    let shutdown = watch::Sender::new(false);
    let listeners = server.threads.into_iter().flatten().collect();
    // In the test's own runtime, whose clock may be paused.
    let leaving = watch::Sender::new(false);
    let ends = super::Ends { leaving: leaving.subscribe(), closing: shutdown.subscribe() };
    let task = tokio::spawn(super::serve(listeners, Arc::new(shared), ends));
    Server { address, counters, leaving, shutdown, task }
}

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.expect("connect")
}

async fn connect_from(from: [u8; 4], server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind(SocketAddr::from((from, 0))).expect("bind");
    socket.connect(server.address).await.expect("connect")
}

/// A message behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

async fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.expect("a length");
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await.expect("a response");
    response
}

async fn ask(stream: &mut TcpStream, id: u16) {
    stream.write_all(&framed(&message(id, b"q"))).await.expect("send");
    assert_eq!(receive(stream).await[..2], id.to_be_bytes());
}

/// Tells whether the server has closed the connection, after nothing more was sent.
async fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 16]).await, Ok(count) if count > 0)
}

/// Another process has the listener, too.
#[tokio::test]
async fn whoever_is_connected_is_answered_after_the_last_accept() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    ask(&mut stream, 1).await;
    server.leaving.send_replace(true);
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ask(&mut stream, 2).await;
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), server.task)
        .await
        .expect("it ends with the last")
        .expect("well")
        .expect("well");
}

#[tokio::test]
async fn rfc7766_section_6_2_1_1_pipelined_queries_split_anywhere_are_all_answered_in_order() {
    let server = serve(TcpLimits::default());
    let (mut reader, mut writer) = connect(&server).await.into_split();
    let sender = tokio::spawn(async move {
        for id in 0..100u16 {
            for octet in framed(&message(id, b"pipelined")) {
                writer.write_all(&[octet]).await.expect("send");
            }
        }
        writer
    });
    for id in 0..100u16 {
        let expected = framed(&echoed(id, b"pipelined", LOCALHOST));
        let mut response = vec![0; expected.len()];
        reader.read_exact(&mut response).await.expect("a response");
        assert_eq!(response, expected);
    }
    sender.await.expect("sender");
    assert_eq!(server.counters.total().get(Event::Query(Transport::Tcp)), 100);
}

#[tokio::test]
async fn many_queries_in_one_write_are_all_answered_in_order() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    let queries: Vec<u8> = (0..1000).flat_map(|id| framed(&message(id, b"at once"))).collect();
    stream.write_all(&queries).await.expect("send");
    for id in 0..1000 {
        assert_eq!(receive(&mut stream).await, echoed(id, b"at once", LOCALHOST));
    }
}

#[tokio::test]
async fn rfc7766_section_6_2_3_a_half_closed_client_gets_its_responses_then_the_end() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    let mut queries: Vec<u8> = (0..200).flat_map(|id| framed(&message(id, b""))).collect();
    queries.extend([0, 99, 1, 2, 3]);
    stream.write_all(&queries).await.expect("send");
    stream.shutdown().await.expect("half-close");
    for id in 0..200 {
        assert_eq!(receive(&mut stream).await, echoed(id, b"", LOCALHOST));
    }
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn the_largest_message_and_the_largest_response_pass() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    stream.write_all(&framed(&message(1, b"big"))).await.expect("send");
    assert_eq!(receive(&mut stream).await.len(), MAX_MESSAGE);
    let body = vec![7; MAX_MESSAGE - 12 - "127.0.0.1".len()];
    stream.write_all(&framed(&message(2, &body))).await.expect("send");
    assert_eq!(receive(&mut stream).await, echoed(2, &body, LOCALHOST));
}

#[tokio::test]
async fn a_message_too_short_for_a_header_closes_after_the_responses_before_it() {
    for length in [0, 1, 11] {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        let queries = [framed(&message(1, b"")), framed(&vec![0; length])].concat();
        stream.write_all(&queries).await.expect("send");
        assert_eq!(receive(&mut stream).await, echoed(1, b"", LOCALHOST));
        assert!(is_closed(&mut stream).await);
    }
}

#[tokio::test]
async fn a_panic_while_answering_costs_its_connection_alone() {
    let server = serve(TcpLimits::default());
    let (mut bystander, mut stream) = (connect(&server).await, connect(&server).await);
    stream.write_all(&framed(&message(1, b"boom"))).await.expect("send");
    assert!(is_closed(&mut stream).await);
    ask(&mut bystander, 2).await;
    assert_eq!(server.counters.total().get(Event::Panicked), 1);
}

#[tokio::test]
async fn at_the_total_who_waited_longest_closes_for_a_newcomer() {
    let server = serve(TcpLimits { connections: 3, ..TcpLimits::default() });
    let mut open = Vec::new();
    for id in 0..3 {
        let mut stream = connect(&server).await;
        ask(&mut stream, id).await;
        open.push(stream);
    }
    // The gate's clock counts in milliseconds.
    sleep(Duration::from_millis(5)).await;
    ask(&mut open[0], 9).await;
    let mut newcomer = connect(&server).await;
    ask(&mut newcomer, 4).await;
    assert!(is_closed(&mut open[1]).await);
    assert_eq!(server.counters.total().get(Event::TcpYielded(TcpLimit::Total)), 1);
    for stream in [0, 2] {
        ask(&mut open[stream], 9).await;
    }
    newcomer.shutdown().await.expect("close");
    assert!(is_closed(&mut newcomer).await);
    let mut last = connect(&server).await;
    ask(&mut last, 5).await;
    assert_eq!(server.counters.total().get(Event::TcpYielded(TcpLimit::Total)), 1, "there was room");
    assert_eq!(server.counters.total().get(Event::TcpAccepted), 5);
}

#[tokio::test]
async fn a_network_at_its_share_closes_one_of_its_own_and_none_of_others() {
    let server = serve(TcpLimits { connections_per_network: 2, ..TcpLimits::default() });
    let mut first = connect_from([127, 1, 2, 3], &server).await;
    let mut second = connect_from([127, 1, 2, 200], &server).await;
    ask(&mut first, 1).await;
    ask(&mut second, 2).await;
    let mut other = connect_from([127, 1, 3, 3], &server).await;
    ask(&mut other, 3).await;
    ask(&mut connect_from([127, 1, 2, 9], &server).await, 4).await;
    assert!(is_closed(&mut first).await);
    ask(&mut second, 5).await;
    ask(&mut other, 6).await;
    assert_eq!(server.counters.total().get(Event::TcpYielded(TcpLimit::Network)), 1);
}

#[tokio::test]
async fn v6_clients_are_answered() {
    let server = serve_at("[::1]:0", TcpLimits::default());
    let mut stream = connect(&server).await;
    stream.write_all(&framed(&message(6, b""))).await.expect("send");
    assert_eq!(receive(&mut stream).await, echoed(6, b"", "::1".parse().expect("address")));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_the_idle_time() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    ask(&mut stream, 1).await;
    let began = Instant::now();
    assert!(is_closed(&mut stream).await);
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Idle)), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_go_sooner_once_others_crowd_in() {
    let server = serve(TcpLimits { connections: 4, ..TcpLimits::default() });
    let mut stream = connect(&server).await;
    ask(&mut stream, 1).await;
    let began = Instant::now();
    let mut crowd = Vec::new();
    for id in 0..3 {
        crowd.push(connect(&server).await);
        ask(&mut crowd[id], id as u16).await;
    }
    assert!(is_closed(&mut stream).await);
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[test]
fn the_idle_time_shrinks_linearly_from_half_full_to_full() {
    let limits = TcpLimits::default();
    let ms = |open| limits.idle_at(open).as_millis();
    assert_eq!([ms(0), ms(500), ms(750), ms(1000), ms(9999)], [10_000, 10_000, 5_500, 1_000, 1_000]);
    let none = TcpLimits { connections: 0, ..TcpLimits::default() };
    assert_eq!(none.idle_at(0), Duration::from_secs(10));
    let ms = |open| limits.message_at(open).as_millis();
    assert_eq!([ms(0), ms(500), ms(750), ms(1000)], [5_000, 5_000, 3_000, 1_000], "so does a message's");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_waited_for_less_long_once_others_crowd_in() {
    let server = serve(TcpLimits { connections: 4, ..TcpLimits::default() });
    let mut slow = connect(&server).await;
    slow.write_all(&[0]).await.expect("send");
    let began = Instant::now();
    let mut crowd = Vec::new();
    for id in 0..3 {
        crowd.push(connect(&server).await);
        ask(&mut crowd[id], id as u16).await;
    }
    assert!(is_closed(&mut slow).await);
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Message)), 1);
}

/// Attackers of 20 networks hold every place with the first octet of a message, and go on coming.
#[tokio::test]
async fn newcomers_are_answered_while_20_networks_hold_all_places_with_one_octet_each() {
    let server = serve(TcpLimits { connections: 200, connections_per_network: 10, ..TcpLimits::default() });
    let attack = async |number: usize| {
        let mut stream = connect_from([127, 2, (number % 20) as u8, 1], &server).await;
        let _ = stream.write_all(&[0]).await;
        stream
    };
    let mut held = std::collections::VecDeque::new();
    for number in 0..200 {
        held.push_back(attack(number).await);
    }
    for (id, from) in (0..20).map(|id| (id, if id % 2 == 0 { [127, 3, 1, 1] } else { [127, 2, 7, 200] })) {
        for number in 0..20 {
            held.push_back(attack(number).await);
            held.pop_front();
        }
        let answered = async { ask(&mut connect_from(from, &server).await, id).await };
        timeout(Duration::from_secs(1), answered).await.expect("answered within a second");
    }
    assert!(server.counters.total().get(Event::TcpYielded(TcpLimit::Network)) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_must_arrive_in_time_however_steadily_it_drips() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    ask(&mut stream, 1).await;
    let began = Instant::now();
    // The clock is paused, the kernel's is not: it would wait with what it could send together.
    stream.set_nodelay(true).expect("an option");
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        loop {
            if writer.write_all(&[9]).await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let mut end = [0; 16];
    let closed = async { !matches!(reader.read(&mut end).await, Ok(count) if count > 0) };
    tokio::select! { closed = closed => assert!(closed), () = drip => {} }
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Message)), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_stalls_itself_alone_and_is_closed() {
    let server = serve(TcpLimits::default());
    let mut deaf = connect(&server).await;
    let began = Instant::now();
    let flood = framed(&message(1, b"big")).repeat(100);
    let pour = async {
        while deaf.write_all(&flood).await.is_ok() {}
        began.elapsed()
    };
    let others = async {
        let mut stream = connect(&server).await;
        for id in 0..50 {
            ask(&mut stream, id).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5));
    };
    let (closed_after, ()) = tokio::join!(pour, others);
    assert!((5..=7).contains(&closed_after.as_secs()), "{closed_after:?}");
    assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Write)), 1);
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once_and_frees_the_port() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    ask(&mut stream, 1).await;
    server.shutdown.send_replace(true);
    assert!(timeout(GRACE / 2, is_closed(&mut stream)).await.expect("at once"));
    timeout(GRACE / 2, server.task).await.expect("in time").expect("joined").expect("served");
    TcpServer::bind(&[server.address], NonZeroUsize::MIN).expect("the port is free");
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_a_grace_time_for_a_client_that_does_not_read() {
    let server = serve(TcpLimits::default());
    let mut deaf = connect(&server).await;
    let flood = framed(&message(1, b"big")).repeat(1000);
    let _ = timeout(Duration::from_millis(100), deaf.write_all(&flood)).await;
    let began = Instant::now();
    server.shutdown.send_replace(true);
    server.task.await.expect("joined").expect("served");
    assert!(began.elapsed() <= GRACE + Duration::from_millis(10));
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_address() {
    let server = serve(TcpLimits::default());
    let error = TcpServer::bind(&[server.address], NonZeroUsize::MIN).expect_err("taken");
    assert!(error.to_string().contains(&format!("cannot listen on TCP {}", server.address)), "{error}");
}

#[tokio::test]
async fn stopping_in_the_middle_of_a_conversation_is_noticed() {
    let server = serve(TcpLimits::default());
    let mut stream = connect(&server).await;
    for id in 0..50 {
        ask(&mut stream, id).await;
        if id == 25 {
            server.shutdown.send_replace(true);
            break;
        }
    }
    // This one and the news arrive together: it may be answered, and then that was all.
    let _ = stream.write_all(&framed(&message(26, b"last"))).await;
    let mut rest = Vec::new();
    let _ = timeout(GRACE / 2, stream.read_to_end(&mut rest)).await.expect("closed at once");
}

#[test]
fn threads_share_an_address_and_its_limits() {
    use std::io::{Read, Write};
    let limits = TcpLimits { connections: 20, ..TcpLimits::default() };
    let server = TcpServer::bind(&["127.0.0.1:0".parse().expect("address")], NonZeroUsize::new(4).expect("4"));
    let server = server.expect("bind");
    let (address, counters) = (server.local_addrs()[0], CounterSet::new());
    assert!(TcpServer::bind(&[address], NonZeroUsize::MIN).is_err(), "a second server is told");
    let running = server.start(&Arc::new(Echo), &counters, &limits, &[]).expect("start");
    let mut open: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).expect("connect")).collect();
    for stream in &mut open {
        stream.write_all(&framed(&message(7, b"threads"))).expect("send");
        let mut response = vec![0; framed(&echoed(7, b"threads", LOCALHOST)).len()];
        stream.read_exact(&mut response).expect("a response");
        assert_eq!(response, framed(&echoed(7, b"threads", LOCALHOST)));
    }
    let _newcomer = std::net::TcpStream::connect(address).expect("connect");
    assert!(!matches!(open[0].read(&mut [0; 1]), Ok(count) if count > 0), "20 of all threads together are open");
    drop(running);
    assert!(!matches!(open[1].read(&mut [0; 1]), Ok(count) if count > 0), "closed");
    let total = counters.total();
    assert_eq!((total.get(Event::TcpAccepted), total.get(Event::Query(Transport::Tcp))), (21, 20));
    TcpServer::bind(&[address], NonZeroUsize::MIN).expect("the port is free");
}
