"""Its place lets tests import `support`, which has what tests of several kinds share."""
