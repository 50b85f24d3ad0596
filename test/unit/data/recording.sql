-- What pgoutput_recording.hpp and wal2json_recording.hpp hold: this script was run in an empty UTF8
-- database of PostgreSQL 15.20 with wal2json 2.5, TimeZone UTC, and then
--
--   SELECT lsn, encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes('s_pgoutput', NULL,
--       NULL, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true');
--   SELECT lsn, encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes('s_wal2json', NULL,
--       NULL, 'format-version', '2', 'include-lsn', '1', 'include-timestamp', '1',
--       'include-xids', '1', 'include-types', '0', 'include-transaction', '1');
\set ON_ERROR_STOP 1
set client_min_messages=warning;
create schema "Odd ""Schema";
create table item (id bigint primary key, name text, price numeric(12,2), active boolean, note text);
alter table item alter column note set storage external;
create table full_identity (a int, b text, c json);
alter table full_identity replica identity full;
create table by_index (x int, y text not null, z int not null);
create unique index by_index_z_y on by_index (z, y);
alter table by_index replica identity using index by_index_z_y;
create table "Odd ""Schema"."Täble\ 😀" ("Kéy" int primary key, "quo""te" text, "new
line" text);
create type mood as enum ('sad','happy');
create domain positive as int check (value > 0);
create table typed (id int primary key, m mood, b bytea, d positive, f float8, n numeric, bits bit varying(7), ts timestamptz, arr text[], j jsonb, g int generated always as (id * 2) stored);
create table parent (id int primary key);
create table child (id int primary key, parent_id int references parent);
create table no_columns ();
create publication p for all tables;
select pg_create_logical_replication_slot('s_pgoutput','pgoutput');
select pg_create_logical_replication_slot('s_wal2json','wal2json');
begin;
insert into item values (1, 'plain', 12.50, true, null), (2, E'quote " back \\ slash \n tab \t ctl \x01 end', 0.00, false, repeat('T', 2100)), (9223372036854775807, 'ünïcödé 😀 ' || chr(8232), 9999999999.99, null, '');
commit;
update item set name = 'renamed' where id = 2;
update item set id = 3 where id = 2;
update item set note = null where id = 3;
delete from item where id = 3;
begin;
insert into full_identity values (1, 'one', '{"k": [1, 2, {"x": null}]}'), (1, 'one', '{"k": [1, 2, {"x": null}]}'), (null, null, null);
update full_identity set b = 'uno' where a is null;
delete from full_identity where ctid = (select ctid from full_identity where a = 1 limit 1);
commit;
insert into by_index values (1, 'why', 26);
update by_index set x = 2;
update by_index set z = 27;
delete from by_index;
insert into "Odd ""Schema"."Täble\ 😀" values (1, '"', 'x');
update "Odd ""Schema"."Täble\ 😀" set "quo""te" = 'y';
insert into typed (id, m, b, d, f, n, bits, ts, arr, j) values (1, 'happy', '\xdeadbeef', 7, 0.1::float8 + 0.2::float8, 1e-130, B'101', '2026-01-02 03:04:05.678+00', '{a,NULL,"c,d"}', '{"a": "\\u20ac"}'), (2, 'sad', '', 1, 'NaN', 'Infinity', '', 'infinity', '{}', 'null'), (3, null, null, null, -1.5e300, 123456789012345678901234567890.123456789, null, null, null, null);
insert into no_columns default values;
insert into parent values (1); insert into child values (1, 1);
truncate parent, child restart identity cascade;
truncate item;
begin; select pg_logical_emit_message(true, 'livemigrate', E'transactional "text"\n'); commit;
select pg_logical_emit_message(false, 'livemigrate', '\xdeadbeef00ff'::bytea);
begin; insert into item values (10, 'rolled', 1, true, ''); rollback;
begin; savepoint a; insert into item values (11, 'sub', 1, true, ''); rollback to a; insert into item values (12, 'kept', 1, true, ''); commit;
alter table item add column extra int default 5;
insert into item values (13, 'wider', 1, true, '', 6);
alter table item drop column price;
insert into item values (14, 'narrower', true, '', 7);
alter table item rename column name to title;
update item set title = 'changed' where id = 14;
select pg_replication_origin_create('upstream');
begin; select pg_replication_origin_session_setup('upstream'); select pg_replication_origin_xact_setup('0/ABCDEF','2026-01-01 00:00:00+00'); insert into item values (15, 'origin', false, '', 8); commit;
select pg_replication_origin_session_reset();
