"""
The board: the ledger as one self-contained HTML page.

.. code-block:: text

    content   the data of the page, read in one transaction
    layout    the positions of the boxes and lines of a graph
    drawing   a graph as HTML: boxes that are links, over lines of SVG
    work      initiatives with their phases, graphs and tables of tasks
    people    messages, questions, agents, errands
    text      escaped text, marks and tables
    page      the whole page; includes page.css and page.js
    file      write the page to a file
"""
