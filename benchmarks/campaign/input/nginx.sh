# Keep-alive with compression, a proxy to itself, and a reload under way.
export PATH=$PATH:/usr/sbin
mkdir html
seq 1 900 | sed 's,.*,<p>line & of a page</p>,' >html/page.html
nginx -p "$PWD" -e error.log -c "$PWD/nginx.conf" &
server=$!
sleep 1
load() { ab -q "$@" | grep -E 'Complete|Failed'; }
load -k -n 8000 -c 16 -H 'Accept-Encoding: gzip' http://127.0.0.1:18473/page.html
load -n 2000 -c 8 http://127.0.0.1:18473/again
kill -HUP $server
sleep 1
load -n 1000 -c 8 http://127.0.0.1:18473/page.html
kill -QUIT $server
wait $server
