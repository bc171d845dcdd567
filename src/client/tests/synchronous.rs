use super::*;

/// Serves one blocking client: a channel, an append, a reader; then it sees the goodbye.
async fn serve_blocking(server: FakeServer) {
    let mut peer = server.welcome().await;
    let submission = accept(&mut peer).await;
    let task = submission.key.id;
    let (number, _) = peer.command().await;
    peer.answer(number, Answer::Channel(info(false, 0))).await;
    let (number, command) = peer.command().await;
    assert_eq!(command, Command::append(LOG, vec![Element::Future(submission.key)].into()));
    peer.answer(number, acked(4, 1)).await;
    let (number, _) = peer.next().await;
    let outcome = Outcome::Finished(Payload::encode(&3.0).unwrap());
    peer.send(number, ServerMessage::Settled { task, outcome }).await;
    let number = begin(&mut peer, Position::Offset(0), 0).await;
    tell_of_channel(&mut peer, info(false, 0)).await;
    let records = [value(1.5), stopped()];
    peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &records)]).await;
    peer.send(number, ServerMessage::CaughtUp { head: 2 }).await;
    assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
    let (number, command) = peer.command().await;
    assert_eq!(command, Command::Release { tasks: vec![task] });
    peer.answer(number, Answer::Released).await;
    assert_eq!(peer.next().await, (0, ClientMessage::Goodbye));
    assert_eq!(peer.try_next().await, None);
}

#[test]
fn synchronous_code_does_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(FakeServer::new());
    let address = server.options().address;
    let served = runtime.spawn(serve_blocking(server));
    let client = blocking::Client::connect(address).unwrap();
    let sum = client.submit(add, (1.0, 2.0)).send().unwrap();
    let channel = client.channel::<f64>("a").unwrap();
    drop(client);
    assert_eq!(channel.append(&sum).unwrap().offset, 4);
    assert_eq!(sum.wait().unwrap(), 3.0);
    let values: Vec<f64> = channel.values().map(Result::unwrap).collect();
    assert_eq!(values, [1.5]);
    drop(channel);
    drop(sum);
    runtime.block_on(served).unwrap();
}
