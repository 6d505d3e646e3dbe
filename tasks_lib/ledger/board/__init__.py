"""
The board: the ledger on one page that needs nothing else, for people.

.. code-block:: text

    content   what is shown, read in one transaction
    layout    where the boxes and lines of a graph go
    drawing   a graph as HTML: boxes that are links, over lines of SVG
    page      the page around it; page.css and page.js go into it
"""
