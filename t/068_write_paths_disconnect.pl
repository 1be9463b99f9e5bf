# How writes get around a freeze by strategy disconnect: write_paths/disconnect.txt.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/write_paths";
use WritePaths;

write_paths('disconnect');
