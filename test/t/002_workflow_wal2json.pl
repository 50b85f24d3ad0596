# The whole documented workflow with wal2json (format-version 2), under load; cleanup leaves
# nothing behind.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Workflow;

test_documented_workflow('wal2json');
