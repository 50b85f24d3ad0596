-- Keys, indexes, foreign keys and triggers of the filled shop; run as shop_owner.
SET maintenance_work_mem = '256MB';

ALTER TABLE shop.customer ADD PRIMARY KEY (id);
ALTER TABLE shop.category ADD PRIMARY KEY (id);
ALTER TABLE shop.product
  ADD PRIMARY KEY (id),
  ADD CONSTRAINT product_sku UNIQUE (sku) INCLUDE (name);
ALTER TABLE shop.product_image ADD PRIMARY KEY (product_id, position);
ALTER TABLE shop.price_audit ADD PRIMARY KEY (id);
ALTER TABLE shop.stock ADD PRIMARY KEY (product_id, warehouse_id);
ALTER TABLE shop.orders ADD PRIMARY KEY (id, placed_at);
ALTER TABLE shop.order_line ADD PRIMARY KEY (order_id, line);
ALTER TABLE shop.payment ADD PRIMARY KEY (id);
ALTER TABLE shop.shipment ADD PRIMARY KEY (id, state);
ALTER TABLE shop.review ADD PRIMARY KEY (id);
ALTER TABLE shop.ledger ADD PRIMARY KEY (id);
ALTER TABLE shop.promotion
  ADD PRIMARY KEY (id),
  ADD CONSTRAINT one_at_a_time EXCLUDE USING gist (runs WITH &&);
ALTER TABLE shop.contract ADD PRIMARY KEY (id);

-- Identified by a unique index rather than a primary key.
CREATE UNIQUE INDEX "gift card number" ON shop."Gift cards & ""vouchers""" ("Card No.");
ALTER TABLE shop."Gift cards & ""vouchers""" REPLICA IDENTITY USING INDEX "gift card number";
CREATE UNIQUE INDEX journal_id ON shop.journal (id);
ALTER TABLE shop.journal REPLICA IDENTITY USING INDEX journal_id;

CREATE UNIQUE INDEX customer_email ON shop.customer (lower(email::text));
CREATE INDEX customer_tags ON shop.customer USING gin (tags);
CREATE INDEX customer_country ON shop.customer (country, loyalty DESC NULLS LAST);
CREATE INDEX product_attributes ON shop.product USING gin (attributes jsonb_path_ops);
CREATE INDEX product_name ON shop.product (name text_pattern_ops);
CREATE INDEX orders_customer ON shop.orders (customer_id);
CREATE INDEX orders_open ON shop.orders (placed_at) WHERE status = 'open';
CREATE INDEX order_line_product ON shop.order_line (product_id);
CREATE INDEX payment_order ON shop.payment (order_id);
CREATE INDEX payment_placed_at ON shop.payment USING brin (placed_at);
CREATE INDEX shipment_order ON shop.shipment USING hash (order_id);
CREATE INDEX review_product ON shop.review (product_id) INCLUDE (stars);
COMMENT ON INDEX shop.customer_email IS 'One account for each address';

ALTER TABLE shop.customer ADD FOREIGN KEY (country) REFERENCES shop.country ON UPDATE CASCADE;
ALTER TABLE shop.category ADD FOREIGN KEY (parent_id) REFERENCES shop.category;
ALTER TABLE shop.product ADD FOREIGN KEY (category_id) REFERENCES shop.category;
ALTER TABLE shop.product_image
  ADD FOREIGN KEY (product_id) REFERENCES shop.product ON DELETE CASCADE;
ALTER TABLE shop.stock
  ADD FOREIGN KEY (product_id) REFERENCES shop.product,
  ADD FOREIGN KEY (warehouse_id) REFERENCES shop.warehouse;
ALTER TABLE shop.orders ADD FOREIGN KEY (customer_id) REFERENCES shop.customer;
ALTER TABLE shop.order_line
  ADD FOREIGN KEY (order_id, placed_at) REFERENCES shop.orders ON DELETE CASCADE,
  ADD FOREIGN KEY (product_id) REFERENCES shop.product;
ALTER TABLE shop.payment
  ADD FOREIGN KEY (order_id, placed_at) REFERENCES shop.orders ON DELETE CASCADE
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE shop.review
  ADD FOREIGN KEY (product_id) REFERENCES shop.product,
  ADD FOREIGN KEY (customer_id) REFERENCES shop.customer ON DELETE SET NULL;
ALTER TABLE shop.ledger
  ADD FOREIGN KEY (from_wallet) REFERENCES shop.wallet,
  ADD FOREIGN KEY (to_wallet) REFERENCES shop.wallet,
  ADD CONSTRAINT ledger_positive CHECK (amount > 0) NOT VALID;

CREATE STATISTICS shop.customer_country_loyalty ON country, loyalty FROM shop.customer;

CREATE TRIGGER touch BEFORE UPDATE ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TRIGGER touch BEFORE UPDATE ON shop.product FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TRIGGER audit_price AFTER UPDATE OF price ON shop.product
  FOR EACH ROW WHEN (OLD.price <> NEW.price) EXECUTE FUNCTION shop.audit_price();
CREATE TRIGGER take_from_stock AFTER INSERT ON shop.order_line
  FOR EACH ROW EXECUTE FUNCTION shop.take_from_stock();

REFRESH MATERIALIZED VIEW shop.takings;
CREATE UNIQUE INDEX takings_key ON shop.takings (month, method);

GRANT USAGE ON SCHEMA shop TO shop_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO shop_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA shop TO shop_app;
