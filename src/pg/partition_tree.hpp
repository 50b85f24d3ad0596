// What tells whether a partition of one server is the same on another: asked alike on both.
#pragma once

namespace livemigrate::pg {

// For behind WITH RECURSIVE: tree(relid, parent, root, bounds, keys, beside) has all partitioned
// tables and partitions, with the topmost table, the bounds on the way down from it, each with the
// key they are of, and the columns of these keys (NULL for an expression). A default partition has
// what the others leave: beside has the bounds of these, for each one on the way down. With the
// same bounds, and nothing beside that the other lacks, it has room for all of the other's rows.
//
// Works on every server from 10 on. Waits for a lock only where a key has an expression:
// pg_get_partkeydef() opens the table, pg_get_expr() none that it is not told of. Bounds are text:
// REQUIRES the settings of PinSessionSettings() and of connections to the source.
inline constexpr char kPartitionTree[] = R"sql(
tree AS (
    SELECT c.oid AS relid, 0::pg_catalog.oid AS parent, c.oid AS root, ''::pg_catalog.text AS bounds,
           '{}'::pg_catalog.text[] AS keys, '{}'::pg_catalog.text[] AS beside
    FROM pg_catalog.pg_class c WHERE c.relkind = 'p' AND NOT c.relispartition
    UNION ALL
    SELECT c.oid, t.relid, t.root, t.bounds || d.key || ' ' || b.own || '; ',
           t.keys || ARRAY(
               SELECT a.attname::pg_catalog.text COLLATE pg_catalog."default"
               FROM pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) k(attnum)
               LEFT JOIN pg_catalog.pg_attribute a
                 ON a.attrelid = t.relid AND a.attnum = k.attnum),
           CASE WHEN b.own = 'DEFAULT' THEN t.beside || ARRAY(
               SELECT (t.bounds || d.key || ' ' || pg_catalog.pg_get_expr(s.relpartbound, 0))
                          COLLATE pg_catalog."default"
               FROM pg_catalog.pg_inherits j
               JOIN pg_catalog.pg_class s ON s.oid = j.inhrelid
               WHERE j.inhparent = t.relid AND s.oid <> c.oid) ELSE t.beside END
    FROM tree t
    JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = t.relid
    JOIN pg_catalog.pg_inherits i ON i.inhparent = t.relid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (
        SELECT pg_catalog.pg_get_expr(c.relpartbound, 0) COLLATE pg_catalog."default") b(own)
    CROSS JOIN LATERAL (
        SELECT (CASE WHEN p.partexprs IS NOT NULL THEN pg_catalog.pg_get_partkeydef(t.relid)
                     ELSE p.partstrat::pg_catalog.text || ARRAY(
                         SELECT pg_catalog.format('%s %s %s', a.attname, o.opcname, l.collname)
                         FROM ROWS FROM (pg_catalog.unnest(p.partattrs::pg_catalog.int2[]),
                                         pg_catalog.unnest(p.partclass::pg_catalog.oid[]),
                                         pg_catalog.unnest(p.partcollation::pg_catalog.oid[]))
                              WITH ORDINALITY k(attnum, opclass, collid, n)
                         JOIN pg_catalog.pg_attribute a
                           ON a.attrelid = t.relid AND a.attnum = k.attnum
                         JOIN pg_catalog.pg_opclass o ON o.oid = k.opclass
                         LEFT JOIN pg_catalog.pg_collation l ON l.oid = k.collid
                         ORDER BY k.n)::pg_catalog.text END) COLLATE pg_catalog."default") d(key)
)
)sql";

} // namespace livemigrate::pg
