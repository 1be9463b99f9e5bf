-- The application of script/demo: the role shop owns tables and may use others.

CREATE ROLE shop LOGIN;
CREATE ROLE warehouse;
CREATE ROLE manager;
CREATE ROLE reporting LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
CREATE SCHEMA warehouse AUTHORIZATION warehouse;

SET ROLE warehouse;
CREATE TABLE warehouse.stock (item text PRIMARY KEY, amount int NOT NULL);
INSERT INTO warehouse.stock VALUES ('lamp', 7), ('chair', 4);
CREATE SEQUENCE warehouse.delivery;
GRANT USAGE ON SCHEMA warehouse TO manager, shop, reporting;
GRANT UPDATE (amount) ON warehouse.stock TO shop;
GRANT SELECT, INSERT ON warehouse.stock TO manager WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE warehouse.delivery TO manager WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA warehouse GRANT SELECT, INSERT ON TABLES TO shop;

-- a chain of grants: warehouse to manager to shop to reporting
SET ROLE manager;
GRANT SELECT, INSERT ON warehouse.stock TO shop WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE warehouse.delivery TO shop;
SET ROLE shop;
GRANT SELECT, INSERT ON warehouse.stock TO reporting;

CREATE TABLE shop.orders (id int GENERATED ALWAYS AS IDENTITY, item text);
INSERT INTO shop.orders (item) VALUES ('lamp');
SELECT lo_from_bytea(4711, 'an invoice');
RESET ROLE;
SELECT lo_from_bytea(4712, 'a contract');
GRANT SELECT, UPDATE ON LARGE OBJECT 4712 TO shop;
