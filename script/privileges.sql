-- Every privilege in this database, raw: order, grantor and NULL included.
-- psql -f script/privileges.sql before a freeze and after the thaw: cmp.
COPY (SELECT 'pg_class', oid, relname, relowner, relacl FROM pg_class ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_attribute', attrelid, attnum, attacl FROM pg_attribute WHERE attacl IS NOT NULL ORDER BY attrelid, attnum) TO STDOUT;
COPY (SELECT 'pg_namespace', oid, nspname, nspowner, nspacl FROM pg_namespace ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_database', oid, datname, datdba, datacl FROM pg_database ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_largeobject_metadata', oid, lomowner, lomacl FROM pg_largeobject_metadata ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_default_acl', d.* FROM pg_default_acl d ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_proc', oid, proname, proowner, proacl FROM pg_proc ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_type', oid, typname, typowner, typacl FROM pg_type ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_language', oid, lanname, lanowner, lanacl FROM pg_language ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_foreign_data_wrapper', oid, fdwname, fdwowner, fdwacl FROM pg_foreign_data_wrapper ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_foreign_server', oid, srvname, srvowner, srvacl FROM pg_foreign_server ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_tablespace', oid, spcname, spcowner, spcacl FROM pg_tablespace ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_parameter_acl', p.* FROM pg_parameter_acl p ORDER BY oid) TO STDOUT;
COPY (SELECT 'pg_init_privs', i.* FROM pg_init_privs i ORDER BY classoid, objoid, objsubid) TO STDOUT;
COPY (SELECT 'pg_auth_members', m.* FROM pg_auth_members m ORDER BY roleid, member, grantor) TO STDOUT;
COPY (SELECT 'pg_shdepend', s.* FROM pg_shdepend s ORDER BY dbid, classid, objid, objsubid, refclassid, refobjid, deptype) TO STDOUT;
