# The whole documented workflow with pgoutput, under load; cleanup leaves nothing behind.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Workflow;

test_documented_workflow('pgoutput');
