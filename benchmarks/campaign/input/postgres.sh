# A cluster of its own on a socket of its own; never as root.
if [ "$(id -u)" = 0 ]; then
    chown nobody . && exec setpriv --reuid=nobody --regid=nogroup --clear-groups sh -e "$0"
fi
export PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH HOME=$PWD
initdb -D data -A trust -U bench >initdb.log
pg_ctl -D data -l server.log -w -o "-c listen_addresses= -c unix_socket_directories=$PWD" start >/dev/null
pgbench -h "$PWD" -U bench -i -s 2 -q postgres >/dev/null 2>&1
pgbench -h "$PWD" -U bench -c 4 -j 2 -t 400 postgres | grep 'actually processed'
psql -h "$PWD" -U bench -At postgres -c 'SELECT count(*) FROM pgbench_accounts'
psql -h "$PWD" -U bench -At postgres -c "SELECT length(string_agg(md5(i::text), ',')) FROM generate_series(1, 200000) i"
pg_dump -h "$PWD" -U bench --schema-only postgres | grep -c CREATE
pg_ctl -D data -m fast -w stop >/dev/null
