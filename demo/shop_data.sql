-- Fills the shop but for its orders, set by set; run as shop_owner. Every value comes from
-- generate_series and hashes, so that two runs make the same shop.
\set customers 60000
\set products 12000

INSERT INTO shop.country
VALUES ('AT', 'Österreich'), ('CH', 'Schweiz'), ('DE', 'Deutschland'), ('DK', 'Danmark'),
       ('ES', 'España'), ('FR', 'France'), ('JP', '日本'), ('PL', 'Polska');

INSERT INTO shop.customer
  (email, name, address, country, loyalty, tags, preferences, born, created_at)
SELECT 'customer' || n || '@example.org',
       (ARRAY['Ada', 'Björn', 'Chloé', 'Đorđe', 'Eşref', '明', 'Zoë'])[1 + n % 7]
         || ' ' || md5(n::text),
       ROW('Long Street', n % 300, lpad((n % 99999)::text, 5, '0'),
           'Town "' || n % 500 || '", South')::shop.postal_address,
       (ARRAY['AT', 'CH', 'DE', 'DK', 'ES', 'FR', 'JP', 'PL'])[1 + n % 8],
       (enum_range(NULL::shop.loyalty))[1 + n % 4],
       CASE n % 3 WHEN 0 THEN '{}'
                  WHEN 1 THEN '{news,NULL}'
                  ELSE '{"a, b","back\\slash","quote\""}' END::text[],
       jsonb_build_object('theme', n % 5, 'mails', n % 2 = 0, 'seen', ARRAY[n, n + 1],
                          'quote', '"\'),
       date '1940-01-01' + n % 25000,
       now() - n * interval '1 minute'
  FROM generate_series(1, :customers) AS n;

INSERT INTO shop.category (parent_id, name)
SELECT nullif((n - 1) / 8, 0), 'Category ' || n FROM generate_series(1, 200) AS n;

INSERT INTO shop.product (sku, name, category_id, price, attributes, size_mm, weight)
SELECT 'SKU-' || lpad(n::text, 6, '0'), 'Product ' || md5(n::text), 1 + n % 200, 1 + n % 500 + 0.99,
       jsonb_build_object('colour', (ARRAY['red', 'green', 'blue'])[1 + n % 3], 'parts', n % 9,
                          'text', repeat('good and cheap ', n % 12)),
       ARRAY[n % 100, n % 200, n % 50],
       CASE n % 1000 WHEN 0 THEN 'NaN' ELSE n / 7.0 END
  FROM generate_series(1, :products) AS n;

INSERT INTO shop.product_image (product_id, position, mime_type, content)
SELECT n % :products + 1, n / :products, 'image/png',
       decode(repeat(md5(n::text), 100 + n % 900), 'hex')
  FROM generate_series(0, 2399) AS n;

INSERT INTO shop.warehouse
SELECT n, 'Warehouse ' || n, point(47 + n / 3.0, 8 + n / 7.0),
       CASE n WHEN 1 THEN tsrange('2020-01-01', NULL)
              WHEN 2 THEN tsrange('2020-01-01', '2040-01-01', '[]') END
  FROM generate_series(1, 5) AS n;

INSERT INTO shop.stock (product_id, warehouse_id, quantity, reserved)
SELECT p, w, 1000000 + (p * w) % 77, p % 5
  FROM generate_series(1, :products) AS p, generate_series(1, 5) AS w;

INSERT INTO shop.review (product_id, customer_id, stars, body)
SELECT 1 + n % :products, nullif(n % (:customers + 1), 0), 1 + n % 5,
       repeat(md5(n::text) || ' indeed. ', 1 + n % 16)
  FROM generate_series(1, 50000) AS n;

INSERT INTO shop.ledger (from_wallet, to_wallet, amount)
SELECT 1 + n % 2000, 1 + (n % 2000 + 1 + n % 1999) % 2000, 1 + n % 50 + 0.25
  FROM generate_series(1, 60000) AS n;

INSERT INTO shop.wallet (id, opened_with, balance)
SELECT id, 1000, 1000 FROM generate_series(1, 2000) AS id;
UPDATE shop.wallet SET balance = explained FROM shop.books WHERE books.id = wallet.id;

INSERT INTO shop.cart_note
SELECT n % 200, CASE n % 7 WHEN 0 THEN NULL ELSE 'note ' || n % 20 END,
       CASE n % 2 WHEN 0 THEN '{"n": 1 , "n": 2}' END::json
  FROM generate_series(1, 600) AS n;

INSERT INTO shop."Gift cards & ""vouchers"""
SELECT 'GC-' || n, n % 200 + 0.5, n % 2 = 0 FROM generate_series(1, 5000) AS n;

INSERT INTO shop.promotion (title, runs)
SELECT 'Week ' || n, daterange(date '2024-01-01' + n * 7, date '2024-01-01' + n * 7 + 7)
  FROM generate_series(1, 100) AS n;

INSERT INTO shop.contract (title, scan)
SELECT 'Contract ' || n, lo_from_bytea(0, decode(repeat(md5(n::text), 1000 + n * 50), 'hex'))
  FROM generate_series(1, 60) AS n;
INSERT INTO shop.contract (title, scan) VALUES ('Empty contract', lo_from_bytea(0, ''));
