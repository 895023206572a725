//! What the tests, the demo and the bench share.

