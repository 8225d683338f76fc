PRAGMA journal_mode=WAL;
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400000)
INSERT INTO t SELECT i, 'name ' || (i * 7919 % 100003), zeroblob(300 + i % 200) FROM n;
CREATE INDEX by_name ON t(name);
SELECT count(*), sum(length(body)) FROM t;
SELECT name, count(*) FROM t GROUP BY name ORDER BY 2 DESC, 1 LIMIT 9;
UPDATE t SET name = upper(name) WHERE id % 5 = 0;
DELETE FROM t WHERE id % 7 = 0;
PRAGMA integrity_check;
VACUUM;
SELECT group_concat(substr(name, -3)) FROM t WHERE id < 3000;
