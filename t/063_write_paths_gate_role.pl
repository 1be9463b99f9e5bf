# How writes get around a freeze of a role by strategy gate: write_paths/gate.txt.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/write_paths";
use WritePaths;

write_paths('gate', 'grantee', 'owner', 'owner_waits');
