"""How answers look: tables, trees and details, drawn from reports."""
