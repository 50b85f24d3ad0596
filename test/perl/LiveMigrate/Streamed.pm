# Transactions that are large enough to be streamed while they are in progress.
package LiveMigrate::Streamed;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(half_rolled_back);

# SQL of one transaction with a subtransaction for each i from $first to $last: it inserts row i into
# table a, does what is given besides, and every second one is rolled back.
sub half_rolled_back {
    my ($first, $last, $besides) = @_;
    return sprintf <<'SQL', $first, $last, $besides // '';
DO $$ BEGIN
    FOR i IN %d..%d LOOP
        BEGIN
            INSERT INTO a VALUES (i, repeat('s', 100));
            %s
            IF i %% 2 = 0 THEN RAISE 'no'; END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END $$;
SQL
}

1;
