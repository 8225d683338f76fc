# Both kinds of persistence; the second server reads what the first one wrote.
client() { redis-cli -s "$PWD/socket" "$@"; }
serve() {
    redis-server --port 0 --unixsocket "$PWD/socket" --appendonly yes --save '1 1' >>server.log &
    server=$!
    until client ping 2>&1 | grep -q PONG; do sleep 0.1; done
}
serve
redis-benchmark -s "$PWD/socket" -q -n 20000 -r 50000 -d 64 -P 8 >/dev/null
client bgrewriteaof >/dev/null
client set answer 42
client eval 'return #ARGV[1]' 0 seven
sleep 2
client shutdown save || true
wait $server
serve
client get answer
client shutdown nosave || true
wait $server
