-- Fills the shop's orders, their lines, payments and shipments; run as shop_owner, beside
-- shop_data.sql.
\set customers 60000
\set products 12000
\set orders 150000

INSERT INTO shop.orders (placed_at, customer_id, status, ship_to, note)
SELECT now() - n * interval '6 minutes', 1 + n::bigint * 7919 % :customers,
       (enum_range(NULL::shop.order_status))[1 + n % 4],
       CASE n % 4 WHEN 0 THEN ROW('Elsewhere', n % 9, NULL, 'Port')::shop.postal_address END,
       CASE n % 10 WHEN 0 THEN E'ring twice\nthen\tknock' WHEN 1 THEN '' WHEN 2 THEN '\N' END
  FROM generate_series(1, :orders) AS n;

INSERT INTO shop.order_line (order_id, placed_at, line, product_id, quantity, unit_price)
SELECT id, placed_at, line, 1 + (id * 31 + line) % :products, 1 + (id + line) % 5,
       1 + id % 300 + 0.49
  FROM shop.orders, generate_series(1, 3) AS line;

INSERT INTO shop.payment (id, order_id, placed_at, amount, method, answer)
SELECT md5(id::text)::uuid, id, placed_at, 1 + id % 900 + 0.99,
       (ARRAY['card', 'invoice', 'wallet'])[1 + id % 3],
       CASE id % 3 WHEN 0 THEN '{"ok":true,  "bank": "\u00e9t\u00e9"}' END::json
  FROM shop.orders;

INSERT INTO shop.shipment (state, order_id, carrier, history, transit)
SELECT (ARRAY['packed', 'sent', 'customs', 'delivered', 'lost'])[1 + id % 5], id,
       'Carrier ' || id % 7, ARRAY[placed_at, placed_at + interval '1 day'],
       (id % 100) * interval '1 hour'
  FROM shop.orders WHERE id % 2 = 0;
